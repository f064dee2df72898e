"""The parts of a sweep that can be done apart: jobs, and what one job measures.

A job is one programming of the weights: one device with its noise and scale, one seed. All that shares
programmed weights is measured in one job, and placements that put the same units digital are measured once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import PLAN
from hetc.evaluation.predictions import prediction_rows
from hetc.evaluation.results import Row, score_label
from hetc.evaluation.running import Running, running
from hetc.evaluation.sweep_spec import Sweep
from hetc.hardware.profile import Profile
from hetc.passes.analysis.score_neurons import DEVICE_LOSS
from hetc.plan.plan import Plan
from hetc.plan.targets import at_fraction, digital_neurons

__all__ = ["Job", "Placed", "Work", "analog_units", "jobs_of", "measure_job", "measurements", "placements_of"]


@dataclass(frozen=True)
class Job:
    """One programming of the weights.

    Attributes:
        profile: The hardware with the noise model and scale that are programmed: a value, since a name may
            stand for another device elsewhere.
        seed: Of the programming noise.
    """

    profile: Profile
    seed: int


@dataclass(frozen=True)
class Placed:
    """A way to place the experts, at all fractions.

    Attributes:
        score, ranking, granularity: What ranks what.
        kind: The one unit kind that is analog, `none` or `all`; empty where the fractions decide.
        fractions: What to measure.
        by_seed: Whether each seed has another order.
        by_profile: Whether each noise model and scale has.
    """

    score: str
    ranking: str = "layer"
    granularity: str = "expert"
    kind: str = ""
    fractions: tuple[float, ...] = ()
    by_seed: bool = False
    by_profile: bool = False

    def folder(self, job: Job) -> str:
        """Name of its plan or bundle, which jobs share where the order doesn't follow what differs."""
        device = asdict(job.profile if self.by_profile else job.profile.noise)
        what = [asdict(self), device, job.seed if self.by_seed else 0]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Its score in the results."""
        return score_label(self.score, self.ranking, self.granularity)


@dataclass(frozen=True)
class Work:
    """What all jobs of a sweep share.

    Attributes:
        sweep: What to measure.
        placements: Its placements.
        plans: sha256 of each plan, by the name of its folder.
        windows: Token ids `[windows, window]` of the sweep's data, None if it has none.
        origin: Columns of every row.
        data: Further columns of what is measured on the data.
        tasks: Further columns of what is measured on a task, by its name.
    """

    sweep: Sweep
    placements: tuple[Placed, ...]
    plans: Mapping[str, str]
    windows: np.ndarray | None
    origin: Row
    data: Row
    tasks: Mapping[str, Row]


def jobs_of(sweep: Sweep) -> list[Job]:
    """The jobs of a sweep, in the order of its results.

    Raises:
        UsageError: A noise model that isn't known.
        InvalidInputError: One that knows no drift, on a profile that drifts.
    """
    own = sweep.profile
    scales = sweep.noise_scales or (own.noise_scale,)
    noises = [own if name == own.noise.name else own.with_noise(name, None) for name in sweep.noises]
    profiles = [replace(one, noise_scale=float(scale)) for one in noises or [own] for scale in scales]
    return [
        Job(profile, seed) for profile in profiles for seed in range(sweep.seeds if _draws(profile) else 1)
    ]


def _draws(profile: Profile) -> bool:
    """Whether another seed programs other weights."""
    drawn = (profile.noise_scale, profile.drift_time, profile.flicker_noise)
    return profile.noise.form != "none" and max(drawn) > 0


def placements_of(sweep: Sweep) -> tuple[Placed, ...]:
    """The placements of a sweep, in the order of its results."""
    fractions = tuple(sorted(sweep.fractions))
    ranked = [
        Placed(
            score,
            ranking,
            granularity,
            fractions=fractions,
            by_seed=score == "random",
            by_profile=score == DEVICE_LOSS,
        )
        for granularity in sweep.granularities
        for score in sweep.scores
        for ranking in sweep.rankings
        if fractions
    ]
    by_kind = [
        Placed(sweep.scores[0], kind=kind, fractions=(float(kind not in ("expert", "all")),))
        for kind in sweep.kinds
    ]
    return (*ranked, *by_kind)


def measure_job(work: Work, job: Job, folder: Path) -> list[Row]:
    """What every placement gives under one programming, as rows of the table.

    Args:
        work: What to measure.
        job: The programming.
        folder: Where each placement has its folder, with a bundle or a plan in it.
    """
    return [row for rows in measurements(work, job, folder) for row in rows]


def measurements(work: Work, job: Job, folder: Path) -> Generator[list[Row], None, None]:
    """The rows of `measure_job` one placement and fraction after the other, each when it is measured."""
    sweep = work.sweep
    measured: dict[Hashable, list[Row]] = {}
    keep = None
    for placed in work.placements:
        own = folder / placed.folder(job)
        plan = Plan.load(own / PLAN)
        for fraction in placed.fractions:
            analog = analog_units(plan, fraction)
            if analog not in measured:
                target: Bundle | Plan = load_bundle(own) if sweep.checkpoint is None else plan
                choices: Row = {
                    "seed": job.seed,
                    "noise_scale": job.profile.noise_scale,
                    "digital_frac": fraction,
                    "low_memory": sweep.low_memory,
                }
                with running(target, sweep.checkpoint, sweep.device, threads=1, **choices) as model:
                    measured[analog] = [*_predictions(work, model), *_answers(work, model)]
                    keep = keep or model  # sessions that come later share what is programmed while it lives
            where: Row = {
                "fraction": float(fraction),
                "score": placed.label,
                "ranking": placed.ranking,
                "granularity": placed.granularity,
                "seed": job.seed,
                "noise": job.profile.noise.name,
                "noise_scale": job.profile.noise_scale,
                "kind": placed.kind,
                "plan_sha256": work.plans[own.name],
                "profile": job.profile.name,
                "profile_sha256": job.profile.digest,
            }
            yield [{**where, **found, **work.origin} for found in measured[analog]]


def analog_units(plan: Plan, fraction: float) -> Hashable:
    """What is analog at a fraction, the same for plans that leave the same: units, or their neurons."""
    at = at_fraction(plan, fraction)
    analog = [unit for unit in at.units if unit.target == "analog"]
    masks = [digital_neurons(at, unit) if unit.digital_neurons else None for unit in analog]
    return tuple(
        (unit.id, None if mask is None else mask.tobytes()) for unit, mask in zip(analog, masks, strict=True)
    )


def _predictions(work: Work, model: Running) -> list[Row]:
    """Loss and accuracy of the next token on the sweep's data."""
    if work.sweep.data is None or work.windows is None:
        return []
    rows = prediction_rows(model.predict, work.windows, work.sweep.data.stem)
    return [{**row, **work.data} for row in rows]


def _answers(work: Work, model: Running) -> list[Row]:
    """What the sweep's tasks of lm-eval give."""
    if not work.tasks:
        return []
    from hetc.evaluation.tasks import LanguageModel, run_tasks

    sweep = work.sweep
    asked = LanguageModel(model.predict, model.generate, model.folder)
    found = run_tasks(asked, list(work.tasks), include=sweep.include_path, limit=sweep.limit or None)
    return [{**row, "unit": "", **work.tasks[row["task"]]} for row in found]
