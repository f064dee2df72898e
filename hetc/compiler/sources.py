"""The plan behind what a user names: a bundle, a plan file or a model."""

from __future__ import annotations

from pathlib import Path

from hetc.plan.plan import Plan

__all__ = ["read_plan"]


def read_plan(path: Path) -> Plan:
    """A bundle's plan, a plan.json, or the plan that `hetc compile` would make of a model by default.

    Raises:
        UsageError: Nothing is there.
        InvalidInputError: It cannot be read.
    """
    if path.is_dir():
        from hetc.bundle.bundle import load_bundle

        return load_bundle(path).plan
    if path.suffix == ".json":
        return Plan.load(path)
    from hetc.compiler.pipeline import Placement, make_plan
    from hetc.hardware.profile import load_profile
    from hetc.model.load import load_model

    return make_plan(load_model(path), Placement(), load_profile())
