"""Compiles one model of the table and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import by_frameworks
from checkpoints import DENSE_FIRST
from families import EXPERTS

import hetc
from hetc.base.errors import HetcError
from hetc.plan.units import ALWAYS_DIGITAL, Unit

__all__ = ["Outcome", "UnitTable", "check", "expected_experts", "unit_table"]

UnitTable = dict[str, tuple[int, tuple[tuple[int, int], ...]]]
"""Parameters, and the widths of the matrices in order, of every unit by its id."""


@dataclass(frozen=True)
class Outcome:
    """What `hetc compile` and `hetc verify` made of a model.

    Attributes:
        status: equal to the source in exact mode; refused by `compile`; or wrong, whatever is.
        reason: of a refusal, or what is wrong.
        units: of the bundle; empty if it was refused.
        outside: what `compile` said of products that belong to no unit; empty if there are none.
    """

    status: Literal["equal", "refused", "wrong"]
    reason: str = ""
    units: tuple[Unit, ...] = ()
    outside: str = ""


def check(model: Path, folder: Path, experts: int) -> Outcome:
    """Compile a model at a quarter digital, and compare it with its source in exact mode.

    Args:
        model: the ONNX file.
        folder: where the bundle goes.
        experts: how many experts it has, in all layers.
    """
    try:
        bundle = hetc.compile(model, folder / "model.hetc", digital_frac=0.25, force=True)
    except HetcError as error:
        return Outcome("refused", " ".join(str(error).split()))
    plan = bundle.plan
    outside = next((finding.reason for finding in plan.findings if finding.layer == "model"), "")
    found = sum(unit.kind == "expert" for unit in plan.units)
    if found != experts:
        return Outcome("wrong", f"{found} experts found of {experts}", plan.units, outside)
    try:
        checks = {check.name: check for check in hetc.verify(bundle, model, seeds=2)}
    except HetcError as error:
        return Outcome("wrong", " ".join(str(error).split()), plan.units, outside)
    failed = [f"{name}: {check.detail}" for name, check in checks.items() if check.status == "failed"]
    if failed or checks["exact mode = source"].status != "ok":
        return Outcome(
            "wrong", "; ".join(failed) or checks["exact mode = source"].detail, plan.units, outside
        )
    return Outcome("equal", "", plan.units, outside)


def expected_experts(family: str) -> int:
    """How many experts a tiny model of a family has in all of its layers."""
    if family == "plain":
        return by_frameworks.EXPERTS * by_frameworks.LAYERS
    return EXPERTS * (1 if family in DENSE_FIRST else 2)


def unit_table(units: tuple[Unit, ...]) -> UnitTable:
    """What must be the same by every exporter: of what is always digital, its parameters alone."""
    return {
        unit.id: (
            unit.parameters,
            tuple((matrix.inputs, matrix.outputs) for matrix in unit.matrices)
            if unit.kind not in ALWAYS_DIGITAL
            else (),
        )
        for unit in units
    }
