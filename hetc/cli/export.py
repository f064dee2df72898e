"""`hetc export`: Hugging Face checkpoint -> ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.base.quantity import quantity
from hetc.cli.command import command
from hetc.cli.output import print_json, say

__all__ = ["export_command"]


@command("export")
@click.argument("source", metavar="ID-or-PATH")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--link", is_flag=True, help="Hard-link the checkpoint's weight files instead of copying them.")
@click.option(
    "--digital-weights",
    default="float16",
    metavar="WHAT",
    help="What quantised weights become: 16-bit values (float16), or packed as they are (keep).  "
    "[default: float16]",
)
@click.option("--force", is_flag=True, help="Replace files of an existing folder.")
def export_command(
    source: str, output: Path, link: bool, digital_weights: Any, force: bool, as_json: bool
) -> None:
    """Turn a Hugging Face language model, with or without experts, into ONNX, weights as they are on disk.

    ID-or-PATH is a folder, or a repository of the hub: OWNER/NAME, hf://OWNER/NAME@REVISION,
    hf://OWNER/NAME/SUB/FOLDER.

    Quantised checkpoints, and GGUF files, become the bfloat16 values that they mean; --digital-weights keep
    leaves GPTQ's, AWQ's and compressed-tensors' 4 and 8 bits packed.
    """
    with needs("export", "hetc export"), progress("loading torch"):
        from hetc.huggingface.export.export import export
        from hetc.huggingface.export.tensor_files import converted_files
    path = export(source, output, link=link, force=force, digital_weights=digital_weights)
    say(f"wrote {path}")
    converted = converted_files(path.parent)
    size = sum(file.stat().st_size for file in converted)
    if converted:
        names = ", ".join(file.name for file in converted)
        say(f"{quantity(size, 'B')} of its weights are converted, in {names}")
    say(f"next: hetc compile {path}")
    if as_json:
        print_json({"model": path, "converted_bytes": size})
