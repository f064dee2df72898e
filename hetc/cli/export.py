"""`hetc export`: Hugging Face checkpoint -> ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.base.extras import needs
from hetc.base.quantity import quantity

__all__ = ["export_command"]


@click.command("export")
@click.argument("source", metavar="ID-or-PATH")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--link", is_flag=True, help="Hard-link the checkpoint's weight files instead of copying them.")
@click.option("--force", is_flag=True, help="Replace files of an existing folder.")
def export_command(source: str, output: Path, link: bool, force: bool) -> None:
    """Turn a Hugging Face language model, with or without experts, into ONNX, weights as they are on disk.

    Quantised checkpoints, and GGUF files, become the bfloat16 values that they mean.
    """
    with needs("export", "hetc export"):
        from hetc.huggingface.export.export import export
        from hetc.huggingface.export.tensor_files import CONVERTED_FILE
    path = export(source, output, link=link, force=force)
    click.echo(f"wrote {path}", err=True)
    converted = path.with_name(CONVERTED_FILE)
    if converted.is_file():
        size = quantity(converted.stat().st_size, "B")
        click.echo(f"{size} of its weights are converted, in {converted.name}", err=True)
    click.echo(f"next: hetc compile {path}", err=True)
