"""Finds the smallest digital share that keeps a metric, and keeps what was seen in the bundle.

The shares of a plan are nested, so that the metric is taken to get no worse as the share grows: bisection.
The metric of a share is its mean over programming seeds; a share is good enough when the worse end of the
mean's confidence interval is within the bound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.output import whole_file
from hetc.base.progress import progress
from hetc.bundle.bundle import Bundle, BundleLike, opened_bundle
from hetc.bundle.files import TUNING
from hetc.bundle.noise_probe import mean_noise
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.differences import student_t
from hetc.evaluation.likelihood import session_predict
from hetc.model.tokens import TokensLike, token_windows
from hetc.plan.fractions import DigitalFraction
from hetc.plan.targets import targets_at
from hetc.tuning.shares import TunedShare, Tuning

__all__ = ["METRICS", "Metric", "tune"]

Metric = Literal["loss", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)
MOST_SHARES = 512
"""Among how many shares the search goes: neurons could have thousands, which no metric tells apart."""


def tune(
    bundle: BundleLike,
    data: TokensLike,
    basis: CostBasis | None = None,
    *,
    window: int = 256,
    windows: int = 16,
    max_drop: str = "1%",
    metric: Metric = "loss",
    seeds: int = 8,
    confidence: float = 0.95,
    drift_times: Sequence[float] = (),
    threads: int | None = None,
) -> Tuning:
    """Finds the smallest digital share that keeps a metric, and writes what was seen into the bundle.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "tuned.hetc", digital_frac=0)
        >>> tokens = "samples/tiny_moe/heldout.npz"
        >>> tuning = hetc.tune(bundle, tokens, window=64, windows=2, seeds=2, max_drop="5%")
        >>> tuning.metric, len(tuning.chosen)
        ('loss', 1)

    Args:
        bundle: The bundle, or its folder, compiled at the least share that may be chosen, such as 0.
        data: Token ids: an array of integers, or the path of an .npz file with an array `tokens`.
        basis: The system and step whose energy is listed; None for decoding a batch of 32 with a context of
            1024 on `a100+pcm-3d`, serial.
        window: Tokens in a row.
        windows: How many rows, at most.
        max_drop: How much worse than mode exact the metric may be: `1%` of it, or `0.02` in its unit.
        metric: `loss` (nats per token, lower is better) or `accuracy` (of the next token).
        seeds: Programming seeds 0 .. seeds - 1, at least 2.
        confidence: Of the two-sided interval of the mean, from Student's t.
        drift_times: Seconds since programming, each tuned by itself; empty for the plan's.
        threads: Threads of each session; None leaves it to ONNX Runtime.

    Raises:
        InvalidInputError: Tokens that cannot be used, or a model that puts out infinite or no numbers.
        UsageError: A baked bundle, one of whose units none follows the share, or a bound that makes no sense.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    metric = choose("metric", metric, METRICS)
    if seeds < 2 or not 0 < confidence < 1:
        raise UsageError("a confidence interval needs 2 seeds or more and a confidence between 0 and 1")
    bundle = opened_bundle(bundle)
    basis = basis or CostBasis(load_costs())
    tokens = token_windows(data, window, windows)
    worse = 1 if metric == "loss" else -1

    def measure(**choices: object) -> float:
        session = bundle.session(threads=threads, **choices)  # type: ignore[arg-type]
        losses, hits = session_predict(session, bundle.path)(tokens)
        if not np.isfinite(losses).all():
            raise InvalidInputError(
                f"bundle {bundle.path}: its logits are infinite or no numbers; see hetc verify"
            )
        return float(losses.mean() if metric == "loss" else hits.mean())

    candidates = _shares(bundle)
    reference = measure(mode="exact")
    bound = reference + worse * _drop(max_drop, reference)
    factor = student_t(confidence, seeds - 1) / math.sqrt(seeds)
    times = tuple(drift_times) or (bundle.plan.profile.drift_time,)
    shares: list[TunedShare] = []
    chosen: list[tuple[float, DigitalFraction | None]] = []
    most = len(times) * (math.ceil(math.log2(len(candidates))) + 1) * seeds
    with progress("tuning", most) as advance:
        for drift_time in times:
            noise = mean_noise(bundle.measure_noise(drift_time=drift_time))

            def look(share: DigitalFraction, drift_time: float = drift_time, noise: float = noise) -> bool:
                values = []
                for seed in range(seeds):
                    values.append(measure(seed=seed, digital_frac=share, drift_time=drift_time))
                    advance(1)
                mean = float(np.mean(values))
                worst = mean + worse * factor * float(np.std(values, ddof=1))
                energy = basis.plan_cost(targets_at(bundle.plan, share))
                shares.append(TunedShare(share, drift_time, noise, mean, worst, energy.joules_per_token))
                return worse * (bound - worst) >= 0

            chosen.append((drift_time, _smallest(candidates, look)))
    shares.sort(key=lambda share: (share.drift_time, share.digital_frac))
    tuning = Tuning(metric, reference, bound, seeds, confidence, str(basis), tuple(shares), tuple(chosen))
    _write(bundle, tuning)
    return tuning


def _shares(bundle: Bundle) -> list[DigitalFraction]:
    """Every share that differs from the one before it, from the compiled one to 1, or that many of them."""
    sizes = {unit.group_size for unit in bundle.plan.units if unit.follows_fraction}
    if bundle.weights_hold is not None or not sizes:
        raise UsageError(f"bundle {bundle.path} has no expert or neuron whose share could be chosen")
    compiled = bundle.plan.digital_frac
    size = max(sizes)
    first = compiled.count(size)
    counts = [*range(first, size, math.ceil((size - first + 1) / MOST_SHARES)), size]
    return [DigitalFraction(max(compiled, Fraction(count, size))) for count in counts]


def _smallest(
    shares: Sequence[DigitalFraction], good: Callable[[DigitalFraction], bool]
) -> DigitalFraction | None:
    """The first good one, where all after a good one are good."""
    low, high = 0, len(shares)
    while low < high:
        middle = (low + high) // 2
        if good(shares[middle]):
            high = middle
        else:
            low = middle + 1
    return shares[low] if low < len(shares) else None


def _drop(text: str, reference: float) -> float:
    number, percent, rest = text.partition("%")
    try:
        drop = float(number) / 100 * reference if percent else float(number)
    except ValueError:
        drop = math.nan
    if rest.strip() or not drop >= 0:
        raise UsageError(f"max-drop {text!r} is neither a share such as 1% nor a number such as 0.02")
    return drop


def _write(bundle: Bundle, tuning: Tuning) -> None:
    bundle.check_unchanged()  # it was measured for long, and another may lie there by now
    with whole_file(bundle.path / TUNING, force=True) as staging:
        staging.write_text(json.dumps(tuning.to_dict(), indent=1) + "\n", "utf-8")
