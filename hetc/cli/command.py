"""What all commands share: -v, -q and --json, and a hint where a command's name is nearly right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import click

from hetc.cli.extras import quieten_extras
from hetc.cli.output import VOLUME, as_lines

__all__ = ["Command", "Group", "command"]

LEVELS = {"verbose": logging.INFO, "quiet": logging.ERROR}


class TextFormatter(logging.Formatter):
    """Spells out what is no text in names that are logged."""

    def format(self, record: logging.LogRecord) -> str:
        return as_lines(super().format(record))


def _note_volume(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given and ctx.meta.setdefault(VOLUME, param.name) != param.name:
        raise click.UsageError("give -v or -q, not both", ctx)


def _volume_options() -> list[click.Parameter]:
    """-v and -q, which count wherever on the line they stand."""
    shared: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _note_volume}
    return [
        click.Option(["-v", "--verbose"], help="Log what every step does, to stderr.", **shared),
        click.Option(["-q", "--quiet"], help="Say nothing but results and errors.", **shared),
    ]


class Command(click.Command):
    """A command with -v, -q and --json; its function gets `as_json`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
        self.params += _volume_options()

    def invoke(self, ctx: click.Context) -> Any:
        _set_volume(ctx.meta.get(VOLUME))
        return super().invoke(ctx)


class Group(click.Group):
    """A group with -v and -q, which suggests a command where it doesn't know one."""

    command_class = Command

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += _volume_options()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            near = get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise click.UsageError(f"no such command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """Makes a function a command."""
    return click.command(name, cls=Command)


def _set_volume(volume: str | None) -> None:
    from hetc.base.progress import show_progress

    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=LEVELS.get(volume or "", logging.WARNING), handlers=[handler])
    if volume != "quiet":
        show_progress()
    if volume != "verbose":
        quieten_extras()
