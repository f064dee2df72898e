"""What `hetc tune` shows people."""

from __future__ import annotations

from rich.table import Table

from hetc.base.quantity import quantity
from hetc.cli.output import new_console
from hetc.tuning.shares import Tuning

__all__ = ["print_tuning"]


def print_tuning(tuning: Tuning) -> None:
    """Every share that was measured, and which was chosen at each drift time."""
    console = new_console()
    chosen = set(tuning.chosen)
    table = Table(box=None, pad_edge=False)
    worst = f"{'highest' if tuning.metric == 'loss' else 'lowest'} at {tuning.confidence:.0%}"
    for column in ("drift time", "digital", tuning.metric, worst, "crossbars err by", "energy/token", ""):
        table.add_column(column)
    for share in tuning.shares:
        table.add_row(
            f"{share.drift_time:g} s",
            f"{float(share.digital_frac):.2%}",
            f"{share.mean:.4f}",
            f"{share.worst:.4f}",
            f"{share.noise:.2%}",
            quantity(share.joules_per_token, "J"),
            "chosen" if (share.drift_time, share.digital_frac) in chosen else "",
        )
    console.print(table)
    console.print(
        f"{tuning.metric}  {tuning.reference:.4f} in mode exact, must keep {tuning.bound:.4f}; "
        f"{tuning.seeds} seeds, energy of {tuning.basis}"
    )
