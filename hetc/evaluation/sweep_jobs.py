"""The parts of a sweep that can be done apart: jobs, and what one job measures.

A job is one programming of the weights: one noise, one scale, one seed. All that shares programmed weights
is measured in one job, and placements that put the same units digital are measured once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import PLAN
from hetc.evaluation.results import score_label
from hetc.evaluation.running import Running, running
from hetc.evaluation.sweep_spec import Sweep
from hetc.hardware.profile import load_profile
from hetc.plan.plan import Plan
from hetc.plan.targets import targets_at

__all__ = ["Job", "Placed", "Row", "jobs_of", "measure_job", "placements_of"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One programming of the weights."""

    noise: str
    noise_scale: float
    seed: int


@dataclass(frozen=True)
class Placed:
    """A way to place the experts, at all fractions.

    Attributes:
        score, ranking: What ranks the experts.
        kind: The one unit kind that is analog, `none` or `all`; empty where the fractions decide.
        fractions: What to measure.
        by_seed: Whether each seed has another order.
    """

    score: str
    ranking: str = "layer"
    kind: str = ""
    fractions: tuple[float, ...] = ()
    by_seed: bool = False

    def folder(self, job: Job) -> str:
        """Name of its plan or bundle, which jobs share where the order doesn't follow the seed."""
        seed = str(job.seed) if self.by_seed else ""
        return "+".join([self.score, self.ranking, self.kind, job.noise, seed])

    @property
    def label(self) -> str:
        """Its score in the results."""
        return score_label(self.score, self.ranking)


def jobs_of(sweep: Sweep) -> list[Job]:
    """The jobs of a sweep, in the order of its results."""
    noises = sweep.noises or (load_profile(sweep.profile).noise.name,)
    return [
        Job(noise, float(scale), seed)
        for noise in noises
        for scale in sweep.noise_scales
        for seed in range(sweep.seeds if scale else 1)
    ]


def placements_of(sweep: Sweep) -> list[Placed]:
    """The placements of a sweep, in the order of its results."""
    fractions = tuple(sorted(sweep.fractions))
    ranked = [
        Placed(score, ranking, fractions=fractions, by_seed=score == "random")
        for score in sweep.scores
        for ranking in sweep.rankings
        if fractions
    ]
    by_kind = [
        Placed(sweep.scores[0], kind=kind, fractions=(float(kind not in ("expert", "all")),))
        for kind in sweep.kinds
    ]
    return [*ranked, *by_kind]


def measure_job(
    sweep: Sweep, job: Job, placements: Sequence[Placed], plans: Path, windows: np.ndarray | None
) -> list[Row]:
    """What every placement gives under one programming, as rows of the table.

    Args:
        sweep: What to measure.
        job: The programming.
        placements: The placements.
        plans: Where each has its folder, with a bundle or a plan in it.
        windows: Token ids `[windows, window]` of the sweep's data, None if it has none.
    """
    measured: dict[frozenset[str], list[Row]] = {}
    keep = None
    rows = []
    for placed in placements:
        folder = plans / placed.folder(job)
        plan = Plan.load(folder / PLAN)
        for fraction in placed.fractions:
            units = targets_at(plan, fraction)
            analog = frozenset(unit.id for unit in units if unit.target == "analog")
            if analog not in measured:
                target: Bundle | Plan = load_bundle(folder) if sweep.checkpoint is None else plan
                choices: Row = {"seed": job.seed, "noise_scale": job.noise_scale, "digital_frac": fraction}
                with running(target, sweep.checkpoint, sweep.device, threads=1, **choices) as model:
                    measured[analog] = [*_predictions(sweep, model, windows), *_answers(sweep, model)]
                    keep = keep or model  # sessions that come later share what is programmed while it lives
            rows += [
                {
                    "fraction": float(fraction),
                    "score": placed.label,
                    "ranking": placed.ranking,
                    "seed": job.seed,
                    "noise": job.noise,
                    "noise_scale": job.noise_scale,
                    "kind": placed.kind,
                    **found,
                }
                for found in measured[analog]
            ]
    return rows


def _predictions(sweep: Sweep, model: Running, windows: np.ndarray | None) -> list[Row]:
    """Loss and accuracy of the next token on the sweep's data."""
    if sweep.data is None or windows is None:
        return []
    losses, hits = model.predict(windows)
    found = (("loss", losses.mean(), "nats/token", False), ("accuracy", hits.mean(), "", True))
    return [
        {
            "task": sweep.data.stem,
            "metric": metric,
            "value": float(value),
            "unit": unit,
            "higher_is_better": better,
        }
        for metric, value, unit, better in found
    ]


def _answers(sweep: Sweep, model: Running) -> list[Row]:
    """What the sweep's tasks of lm-eval give."""
    if not sweep.tasks:
        return []
    from hetc.evaluation.tasks import LanguageModel, run_tasks, task_names

    asked = LanguageModel(model.predict, model.generate, model.folder)
    found = run_tasks(
        asked, task_names(",".join(sweep.tasks)), include=sweep.include_path, limit=sweep.limit or None
    )
    return [{**row, "unit": ""} for row in found]
