"""`hetc tokens`: text -> the token ids that other commands read."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["tokens_command"]


@click.command("tokens")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...", type=click.Path(path_type=Path))
@click.option(
    "--tokenizer", required=True, type=click.Path(path_type=Path), help="Folder with a tokenizer.json."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def tokens_command(texts: tuple[Path, ...], tokenizer: Path, output: Path, force: bool) -> None:
    """Turn TEXT files into token ids for --data: one array `tokens`, file after file, no special tokens."""
    import numpy as np

    from hetc.base.errors import UsageError
    from hetc.base.output import whole_file
    from hetc.model.token_files import read_tokens

    if output.suffix != ".npz":
        raise UsageError(f"output {output}: the name must end in .npz")
    with whole_file(output, force=force) as staging:
        tokens = np.concatenate([read_tokens(text, tokenizer) for text in texts])
        with staging.open("wb") as file:
            np.savez_compressed(file, tokens=tokens)
    click.echo(f"{len(tokens):,} tokens in {output}", err=True)
