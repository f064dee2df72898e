"""The plans of a sweep: made, and checked against the model, before anything is measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.base.progress import progress
from hetc.bundle.files import PLAN
from hetc.compiler.compile import compile
from hetc.compiler.placement import Placement, make_plan
from hetc.evaluation.sweep_jobs import Job, Placed
from hetc.evaluation.sweep_spec import Sweep
from hetc.hardware.profile import Profile
from hetc.model.external_tensors import data_file, external_tensors
from hetc.model.load import LoadedModel
from hetc.passes.analysis.find_units import find_units
from hetc.plan.plan import Plan
from hetc.plan.scores import Scores, load_scores
from hetc.plan.units import DENSE, Unit

__all__ = ["plans_of", "write_plans"]


def plans_of(
    sweep: Sweep, model: LoadedModel, jobs: Sequence[Job], placements: Sequence[Placed]
) -> dict[str, Plan]:
    """The plan of each placement and noise, and of each seed where the order follows it, by folder.

    Raises:
        UsageError: A score that isn't known or wasn't measured, a pin that matches nothing, or one of a unit
            that can't be analog.
        InvalidInputError: A kind that the model lacks, or scores of another model.
    """
    units = find_units(model.model)
    _check_kinds(sweep, units)
    scores = _measured_scores(sweep)
    plans: dict[str, Plan] = {}
    orders: dict[tuple[Placed, int, Profile], Plan] = {}
    for job in jobs:
        # A bundle holds for every scale: sessions say theirs.
        profile = replace(job.profile, noise_scale=sweep.profile.noise_scale)
        for placed in placements:
            device = job.profile if placed.by_profile else sweep.profile
            order = (placed, job.seed if placed.by_seed else 0, device)
            if order not in orders:
                alone = [
                    unit.id for unit in units if unit.kind in DENSE and placed.kind in (unit.kind, "all")
                ]
                choices: dict[str, Any] = {
                    "digital_frac": placed.fractions[0],
                    "score": placed.score,
                    "scores": scores,
                    "ranking": placed.ranking,
                    "granularity": placed.granularity,
                    "calibration": sweep.calibration,
                    "range_rule": sweep.range,
                    "adc_bound_rule": sweep.adc_bound,
                    "analog": (*sweep.analog, *alone),
                    "digital": sweep.digital,
                    "seed": order[1],
                }
                orders[order] = make_plan(model, Placement(**choices), device)
            plans.setdefault(placed.folder(job), replace(orders[order], profile=profile))
    return plans


def write_plans(sweep: Sweep, model: LoadedModel, plans: Mapping[str, Plan], folder: Path) -> None:
    """A folder for each plan, with its bundle, or with the plan alone where a checkpoint is measured."""
    link = _can_link(model, folder)
    with progress("compiling", len(plans)) as advance:
        for name, plan in plans.items():
            if sweep.checkpoint is None:
                compile(sweep.model, folder / name, plan=plan, link=link)
            else:
                (folder / name).mkdir()
                plan.save(folder / name / PLAN)
            advance(1)


def _can_link(model: LoadedModel, folder: Path) -> bool:
    """Whether the weights can be hard-linked: a sweep of a large model would otherwise copy it many times.

    The file system may be another one or have no links, and the files may be another user's.
    """
    probe = folder / "probe"
    for file in {data_file(tensor) for _, tensor in external_tensors(model.model)}:
        try:
            os.link(file.resolve(), probe)
        except OSError:
            return False
        probe.unlink()
    return True


def _check_kinds(sweep: Sweep, units: Sequence[Unit]) -> None:
    with_matrices = {unit.kind for unit in units if unit.matrices}
    known = [kind for kind in ("expert", *DENSE) if kind in with_matrices]
    for kind in sweep.kinds:
        if kind not in (*known, "none", "all"):
            raise InvalidInputError(
                f"sweep: kinds has {kind!r}, and the model has no such unit with weights for a crossbar; "
                f"choose from {', '.join([*known, 'none', 'all'])}"
            )
    experts = [unit for unit in units if unit.kind == "expert"]
    if "expert" in sweep.kinds and all(unit.unsupported for unit in experts):
        raise InvalidInputError(f"sweep: no expert can be analog: {experts[0].unsupported}")


def _measured_scores(sweep: Sweep) -> Scores:
    """All measured scores, whichever file they come from."""
    files = [load_scores(file) for file in sweep.scores_files]
    return Scores(
        values={name: values for file in files for name, values in file.values.items()},
        neurons={name: values for file in files for name, values in file.neurons.items()},
        sensitivities=next((file.sensitivities for file in files if file.sensitivities is not None), None),
    )
