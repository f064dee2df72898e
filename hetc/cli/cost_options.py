"""The options that say for which system and step costs are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hetc.cli.completion import costs

if TYPE_CHECKING:
    from hetc.costing.cost import CostBasis
    from hetc.costing.work import Accounting

__all__ = ["cost_basis", "cost_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--costs", shell_complete=costs, help="Cost profile: a name or a TOML file.  [default: a100+pcm-3d]"
    ),
    click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Sequences."),
    click.option(
        "--context",
        type=click.IntRange(min=0),
        default=1024,
        show_default=True,
        help="Tokens of each prompt, and in each cache when decoding.",
    ),
    click.option(
        "--accounting",
        default="serial",
        show_default=True,
        help="What counts: serial, overlapped, digital-only.",
    ),
)


def cost_options(command: Command) -> Command:
    """Adds `--costs`, `--batch`, `--context` and `--accounting`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def cost_basis(costs: str | None, batch: int, context: int, accounting: Accounting) -> CostBasis:
    """What the options say, of decoding.

    Raises:
        UsageError: No such profile.
        InvalidInputError: A profile that cannot be used.
    """
    from hetc.costing.cost import CostBasis
    from hetc.costing.profile import DEFAULT_COSTS, load_costs
    from hetc.costing.work import Workload

    return CostBasis(
        load_costs(DEFAULT_COSTS if costs is None else costs), Workload("decode", batch, context), accounting
    )
