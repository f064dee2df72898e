"""Every `hetc ...` that a page shows is a command of today, with options that it has."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from code_blocks import hetc_commands
from places import ROOT

from hetc.cli.main import hetc

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "samples").rglob("*.md"),
]
ENDS = ("|", "||", "&", "&&", ";", ">", ">>", "<", "<<")


def words_of(line: str) -> list[str]:
    """A line's first command, as a shell reads it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    return words[1 : next((place for place, word in enumerate(words) if word in ENDS), None)]


def check(line: str) -> None:
    """Follows a line to its command and reads the options.

    Raises:
        click.UsageError: There is no such command or option.
    """
    command: click.Command = hetc
    words = words_of(line)
    if words[-1].startswith("-"):
        words.append("1")  # sentences name options without their values
    while True:
        context = click.Context(command, info_name=line)
        _, words, _ = command.make_parser(context).parse_args(words)
        if not isinstance(command, click.Group) or not words:
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"{line}: no command {words[0]}")
        command, words = found, words[1:]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_are_there(page: Path) -> None:
    for line in hetc_commands(page):
        try:
            check(line)
        except click.UsageError as error:
            pytest.fail(f"{line}\n{error.format_message()}")


@pytest.mark.parametrize(
    "line", ["hetc compiel model.onnx", "hetc compile model.onnx --fraction 1", "hetc sweep --mlfow"]
)
def test_what_is_not_there_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line)
