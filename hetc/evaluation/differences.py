"""How far measurements with noise lie from those of the exact model, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from hetc.base.errors import UsageError
from hetc.base.frames import to_frame
from hetc.base.html import html_table
from hetc.evaluation.results import Result, Row, group_results, mean_and_deviation, to_results

if TYPE_CHECKING:
    import pandas

__all__ = ["Difference", "Rows", "differences", "student_t"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric's mean over programmings, and how far that is from mode exact.

    Attributes:
        task, metric, mode, noise_scale: What was measured under which noise.
        mean: Over the programmings.
        deviation: Standard deviation over them.
        seeds: How many there were.
        exact: The metric in mode exact; None where that wasn't measured.
        difference: `mean - exact`; None likewise.
        margin: Half width of the confidence interval of the difference, over programmings on these very
            questions, by Student's t; None with one programming, or without mode exact.
    """

    task: str
    metric: str
    mode: str
    noise_scale: float
    mean: float
    deviation: float
    seeds: int
    exact: float | None
    difference: float | None
    margin: float | None


class Rows(list[Row]):
    """Rows of the table of results (`results.schema.json`): a list that can be shown and summed up."""

    def differences(self, confidence: float = CONFIDENCE) -> list[Difference]:
        """See `differences`."""
        return differences(to_results(self), confidence)

    def to_dataframe(self) -> pandas.DataFrame:
        """The rows as a pandas frame, whose columns are those of `results.schema.json`.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return to_frame(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: means and differences."""
        found = [asdict(difference).values() for difference in self.differences()]
        return html_table(f"{len(self)} results", [*Difference.__dataclass_fields__], found)


def differences(results: Iterable[Result], confidence: float = CONFIDENCE) -> list[Difference]:
    """For each task, metric, mode and noise scale the mean over programmings and its distance from exact.

    Args:
        results: Measurements of one plan, those in mode exact among them.
        confidence: Of the two-sided interval.

    Raises:
        UsageError: A confidence that is none.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence lies between 0 and 1; {confidence:g} does not")
    groups = group_results(results, lambda one: (one.task, one.metric, one.mode, one.noise_scale))
    exact = {
        (task, metric): mean_and_deviation(own)[0]
        for (task, metric, mode, _), own in groups.items()
        if mode == "exact"
    }
    found = []
    for (task, metric, mode, scale), own in groups.items():
        mean, deviation = mean_and_deviation(own)
        reference = exact.get((task, metric)) if mode != "exact" else None
        margin = None
        if reference is not None and len(own) > 1:
            margin = student_t(confidence, len(own) - 1) * deviation / math.sqrt(len(own))
        difference = None if reference is None else mean - reference
        counts = (mean, deviation, len(own))
        found.append(Difference(task, metric, mode, scale, *counts, reference, difference, margin))
    return found


def student_t(confidence: float, freedom: int) -> float:
    """Half width of the two-sided interval of Student's t, in standard errors, by integrating its density."""
    half = np.tan(np.linspace(0, math.pi / 2, 200_001)[:-1])  # dense near 0, and reaching far
    density = (1 + half**2 / freedom) ** (-(freedom + 1) / 2)
    areas = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(half))])
    return float(np.interp(confidence, areas / areas[-1], half))
