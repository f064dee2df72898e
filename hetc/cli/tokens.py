"""`hetc tokens`: text -> the token ids that other commands read."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.output import as_text, print_json, say

__all__ = ["tokens_command"]


@command("tokens")
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...", type=click.Path(path_type=Path))
@click.option(
    "--tokenizer", required=True, type=click.Path(path_type=Path), help="Folder with a tokenizer.json."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def tokens_command(
    texts: tuple[Path, ...], tokenizer: Path, output: Path, force: bool, as_json: bool
) -> None:
    """Turn TEXT files into token ids for --data: one array `tokens`, file after file, no special tokens."""
    from hetc.model.token_files import tokens

    found = tokens(texts, tokenizer, output, force=force)
    say(f"{len(found):,} tokens in {as_text(output)}")
    if as_json:
        print_json({"file": output, "tokens": len(found)})
