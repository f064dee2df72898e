"""A small plan and measured results of it, made up, for reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from models import moe_model

from hetc.compiler.placement import Placement, make_plan
from hetc.evaluation.results import Result
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.plan.plan import Plan

__all__ = ["BY_SCALE", "PLAN", "RESULTS"]


def _results() -> list[Result]:
    random = np.random.default_rng(0)
    results = []
    for score, gain in (("maxnn", 0.3), ("expected-loss", 0.5), ("random", 0.25)):
        for fraction in (0.0, 0.25, 0.5):
            for seed in range(4):
                value = 2.5 - gain * fraction + 0.01 * random.standard_normal()
                common = (fraction, score, seed, 8.0)
                results.append(Result(*common, "heldout", "loss", value, "pcm", "nats/token", False))
                results.append(Result(*common, "next-line", "accuracy", 1.5 - value / 2, "pcm"))
    for kind, value in (("attention", 2.6), ("none", 2.2), ("lm_head", 2.3)):
        results += [
            Result(
                0.0,
                "none",
                seed,
                8.0,
                "heldout",
                "loss",
                value + 0.01 * seed,
                "pcm",
                "nats/token",
                False,
                kind,
            )
            for seed in range(3)
        ]
    return results


PLAN: Plan = make_plan(load_model(moe_model()), Placement(digital_frac="0.5"), Profile())
RESULTS = _results()
BY_SCALE = [
    replace(result, noise_scale=scale, value=result.value - 0.02 * (8 - scale))
    for result in RESULTS
    for scale in (1.0, 4.0, 8.0)
]
"""The same at three scales of the noise."""
