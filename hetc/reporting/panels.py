"""Which results stand in one figure, and what all digital gives them to be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from hetc.evaluation.results import (
    CONDITIONS,
    MEASURED,
    OVER_MODEL,
    Result,
    group_results,
    mean_and_deviation,
)
from hetc.reporting.style import shortened, wrapped

__all__ = ["CONTROL", "Panel", "Point", "nearest_scale", "panels", "series_of"]

CONTROL = "random"
"""The score that every other one must beat."""

ASKED = ("data_sha256", "window", "tasks_sha256", "limit", "files_sha256", "checkpoint_sha256")
"""Conditions that say what was asked of which weights; what is all digital depends on nothing else."""

Point = tuple[float, float, float, int]
"""Where, mean, standard deviation, number of seeds."""


@dataclass(frozen=True)
class Panel:
    """Results that are drawn into one figure.

    Attributes:
        results: At least one.
        apart: How the conditions of these differ from those of other panels of the same thing; mostly empty.
        reference: The value of the same with all units digital; None where that wasn't measured.
    """

    results: Sequence[Result]
    apart: str = ""
    reference: float | None = None

    @property
    def first(self) -> Result:
        """One that says what all have in common."""
        return self.results[0]

    @property
    def scales(self) -> list[float]:
        """The factors c, rising."""
        return sorted({result.noise_scale for result in self.results})

    @property
    def conditions(self) -> list[str]:
        """Noise, scale, ranking and what sets these results apart, as words."""
        first, low, high = self.first, self.scales[0], self.scales[-1]
        scale = f"c = {low:g}" if low == high else f"c = {low:g} to {high:g}"
        if first.noise == MEASURED:
            scale = ""  # c is of what is drawn
        ranking = "ranked over the model" if first.score.endswith(OVER_MODEL) else ""
        return list(filter(None, (first.noise, scale, ranking, self.apart)))

    @property
    def title(self) -> str:
        """What was measured, under which noise."""
        return f"{self.first.task}, {self.first.metric} ({', '.join(self.conditions)})"

    @property
    def value_title(self) -> str:
        """The value with its unit and direction."""
        first = self.first
        unit = f", {first.unit}" if first.unit else ""
        return f"{first.metric}{unit} ({'higher' if first.higher_is_better else 'lower'} is better)"

    def heading(self, width: float) -> str:
        """What stands above the plot: what was measured on which text, the noise, and how many seeds."""
        seeds = {len(own) for own in group_results(self.results, _what_is_averaged).values()}
        few, many = min(seeds), max(seeds)
        count = f"{many} seed{'s' * (many > 1)}" if few == many else f"{few} to {many} seeds"
        spread = " (mean ± s.d.)" if many > 1 else ""
        parts = [self.value_title, *[f"{part}," for part in (self.first.task, *self.conditions)]]
        value, *rest = (shortened(part, width) for part in parts)
        return f"{value}\n{wrapped((*rest, *f'{count}{spread}'.split(' ')), width)}"

    def name(self, start: str) -> str:
        """The figure's name."""
        first, ranking = self.first, "model" if self.first.score.endswith(OVER_MODEL) else ""
        scale = f"c{first.noise_scale:g}" if len(self.scales) == 1 else ""
        return "-".join(
            filter(None, (start, first.task, first.metric, first.noise, scale, ranking, self.apart))
        )


def panels(
    results: Iterable[Result], references: Sequence[Result], *, over_scales: bool = False
) -> list[Panel]:
    """Results grouped by what makes them comparable: task, metric, noise, scale, ranking and conditions.

    Args:
        results: What to draw.
        references: All results, among them those of all digital.
        over_scales: Whether one panel holds all scales of the noise.
    """
    found = []
    measured = [result for result in results if result.mode != "exact"]
    for same in group_results(measured, lambda result: _subject(result, over_scales)).values():
        # Each scale is a profile of its own; with two profiles at one scale, scales can't be told from those.
        profiles = {(result.noise_scale, _condition(result, "profile_sha256")) for result in same}
        merged = over_scales and len(profiles) == len({scale for scale, _ in profiles})
        skipped = {"profile_sha256"} if merged else set()
        names = [name for name in CONDITIONS if name not in skipped]
        groups = group_results(same, partial(_conditions, names=names))
        values = list(zip(*groups, strict=True))
        varied = [number for number, column in enumerate(values) if len(set(column)) > 1]
        for conditions, own in groups.items():
            apart = ", ".join(f"{names[number]} {conditions[number][:8] or 'none'}" for number in varied)
            found.append(Panel(own, apart, _reference(own[0], references)))
    return found


def nearest_scale(results: Iterable[Result], scale: float) -> list[Result]:
    """The results at the one noise scale that was measured nearest to `scale`, for each noise model.

    Those in mode exact have no noise, and aren't among them.
    """
    chosen: list[Result] = []
    noisy = (result for result in results if result.mode != "exact")
    for own in group_results(noisy, lambda result: (result.task, result.metric, result.noise)).values():
        nearest = min((result.noise_scale for result in own), key=lambda each: (abs(each - scale), each))
        chosen += [result for result in own if result.noise_scale == nearest]
    return chosen


def series_of(results: Iterable[Result], where: str) -> dict[str, list[Point]]:
    """By score, the points at rising `where`: `fraction` or `noise_scale`."""
    series: dict[str, list[Point]] = {}
    for score, own in group_results(results, lambda result: result.score.removesuffix(OVER_MODEL)).items():
        groups = group_results(own, lambda result: float(getattr(result, where)))
        series[score] = [(at, *mean_and_deviation(groups[at]), len(groups[at])) for at in sorted(groups)]
    return series


def _subject(result: Result, over_scales: bool) -> tuple[object, ...]:
    scale = None if over_scales else result.noise_scale
    return (result.task, result.metric, result.noise, scale, result.score.endswith(OVER_MODEL))


def _what_is_averaged(result: Result) -> tuple[object, ...]:
    return (result.score, result.fraction, result.kind, result.noise_scale)


def _condition(result: Result, name: str) -> str:
    return result.conditions[CONDITIONS.index(name)]


def _conditions(result: Result, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_condition(result, name) for name in names)


def _reference(like: Result, results: Iterable[Result]) -> float | None:
    """Mean of the same with nothing analog: in mode exact, of kind `none`, or at fraction 1."""

    def asked(result: Result) -> tuple[str, ...]:
        return (result.task, result.metric, result.model, *_conditions(result, ASKED))

    same = [result for result in results if asked(result) == asked(like)]
    for digital in (
        [result for result in same if result.mode == "exact"],
        [result for result in same if result.kind == "none"],
        [result for result in same if result.fraction == 1 and not result.kind],
    ):
        if digital:
            return fmean(result.value for result in digital)
    return None
