"""A score: the last expert of a layer is kept digital first."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from hetc.plan.units import Unit


def last_first(model: ir.Model, experts: Sequence[Unit], units: Sequence[Unit], seed: int) -> list[float]:
    """The expert's index."""
    return [float(expert.expert or 0) for expert in experts]
