"""What `hetc compare` shows people."""

from __future__ import annotations

from rich.table import Table

from hetc.base.quantity import quantity
from hetc.cli.output import counted, new_console
from hetc.compiler.compare import PlanComparison, PlanFigures, ScoreComparison

__all__ = ["print_plan_comparison", "print_score_comparison"]

SHOWN = 40
"""Units of a table for people; `--json` has all."""


def print_plan_comparison(found: PlanComparison) -> None:
    """What both plans come to, then the units that differ."""
    console = new_console()
    table = Table("", "A", "B", "B - A", box=None, pad_edge=False)
    for name, cells in _figures(*found.figures):
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"costs of {found.basis}")
    if found.rank_correlation is not None:
        console.print(f"ranks correlate by {found.rank_correlation:.3f} (Spearman)")
    if not found.moved:
        console.print("no unit changes sides")
        return
    console.print(f"{counted(len(found.moved), 'unit')} not on the same side:")
    table = Table("unit", "A", "B", "rank in A", "rank in B", box=None, pad_edge=False)
    for unit in found.moved[:SHOWN]:
        sides = [
            f"{share:.1%} digital" if 0 < share < 1 else target
            for target, share in zip(unit.targets, unit.digital_shares, strict=True)
        ]
        table.add_row(unit.id, *sides, *("" if rank is None else str(rank + 1) for rank in unit.ranks))
    console.print(table)
    if len(found.moved) > SHOWN:
        console.print(f"... and {counted(len(found.moved) - SHOWN, 'more unit')} (--json shows all)")


def print_score_comparison(found: ScoreComparison) -> None:
    """How far the files rank alike, then the units that they rank most differently."""
    console = new_console()
    for name, correlation in found.rank_correlation.items():
        console.print(f"score {name}: ranks correlate by {correlation:.3f} (Spearman)")
    for file, names in zip("AB", found.only, strict=True):
        if names:
            console.print(f"only in {file}: {', '.join(names)}")
    table = Table("score", "unit", "A", "B", "rank in A", "rank in B", box=None, pad_edge=False)
    for change in found.changes[:SHOWN]:
        values, ranks = (f"{value:.6g}" for value in change.values), (str(rank + 1) for rank in change.ranks)
        table.add_row(change.score, change.id, *values, *ranks)
    console.print(table)
    if len(found.changes) > SHOWN:
        console.print(f"... and {counted(len(found.changes) - SHOWN, 'more unit')} (--json shows all)")


def _figures(one: PlanFigures, two: PlanFigures) -> list[tuple[str, tuple[str, ...]]]:
    """Name and cells of each line."""
    lines: list[tuple[str, tuple[str, ...]]] = [("ranked by", (one.score, two.score, ""))]
    for name, a, b in (("digital", one.digital, two.digital), ("analog", one.analog, two.analog)):
        lines.append((name, (f"{a:.2f} %", f"{b:.2f} %", f"{b - a:+.2f} %")))
    losses = (one.predicted_loss, two.predicted_loss)
    if losses != (None, None):
        shown = ["unknown" if value is None else f"{value:.4f}" for value in losses]
        difference = "" if None in losses else f"{losses[1] - losses[0]:+.4f}"  # type: ignore[operator]
        lines.append(("predicted loss, nats/token", (*shown, difference)))
    a, b = one.joules_per_token, two.joules_per_token
    lines.append(("energy per token", (quantity(a, "J"), quantity(b, "J"), f"{b / a - 1:+.1%}")))
    a, b = one.tokens_per_second, two.tokens_per_second
    lines.append(("tokens/s", (f"{a:,.0f}", f"{b:,.0f}", f"{b / a - 1:+.1%}")))
    return lines
