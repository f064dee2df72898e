"""Figures of measured results: against the digital fraction, against energy, and by unit kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from hetc.evaluation.results import CONDITIONS, OVER_MODEL, Result, group_results, mean_and_deviation
from hetc.reporting.drawing import MARKERS, Canvas, Figure, Frame, Scale, text_width

__all__ = ["energy_figures", "fraction_figures", "pareto_front", "sensitivity_figures"]

CONTROL, CONTROL_MARKER = "random", "cross"
SERIES_MARKERS = tuple(marker for marker in MARKERS if marker != CONTROL_MARKER)
SERIES_COLOURS = 6
"""One more than markers, so that 30 series have looks of their own."""
HEIGHT, WIDTH, LEFT, TOP, BOTTOM = 290, 400, 52, 34, 240

Point = tuple[float, float, float, int]
"""Fraction, mean, standard deviation, number of seeds."""


@dataclass(frozen=True)
class Panel:
    """Results that are drawn into one figure: they differ in score, fraction, kind and seed alone.

    Attributes:
        results: At least one.
        apart: How the conditions of these differ from those of other panels of the same thing; mostly empty.
    """

    results: Sequence[Result]
    apart: str = ""

    @property
    def first(self) -> Result:
        """One that says what all have in common."""
        return self.results[0]

    @property
    def title(self) -> str:
        """What was measured, under which noise."""
        first = self.first
        noise = f"{first.noise}, " if first.noise else ""
        ranking = ", ranked over the model" if _over_model(first) else ""
        apart = f", {self.apart}" if self.apart else ""
        return f"{first.task}, {first.metric} ({noise}c = {first.noise_scale:g}{ranking}{apart})"

    def name(self, start: str) -> str:
        """The figure's name."""
        first, ranking = self.first, "model" if _over_model(self.first) else ""
        words = (start, first.task, first.metric, first.noise, f"c{first.noise_scale:g}", ranking, self.apart)
        return "-".join(filter(None, words))


def fraction_figures(results: Sequence[Result]) -> list[Figure]:
    """Mean and standard deviation over seeds against the digital fraction, a line per score.

    Scores that rank over the model have figures of their own, and so have other profiles, data and the like.
    """
    return [_fraction_figure(panel) for panel in _panels(result for result in results if not result.kind)]


def energy_figures(results: Sequence[Result], energy: Callable[[float], float]) -> list[Figure]:
    """Means against energy with the Pareto front.

    Args:
        results: The measurements.
        energy: Joules per token at a digital fraction.
    """
    ranked = (result for result in results if not result.kind)
    return [_energy_figure(panel, energy) for panel in _panels(ranked)]


def sensitivity_figures(results: Sequence[Result]) -> list[Figure]:
    """What it does to put one kind of unit alone on analog tiles."""
    return [_sensitivity_figure(panel) for panel in _panels(result for result in results if result.kind)]


def pareto_front(
    points: Iterable[tuple[float, float]], *, higher_is_better: bool
) -> list[tuple[float, float]]:
    """The (energy, value) points that no other beats in both, by rising energy."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for energy, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * value > sign * front[-1][1]:
            front.append((energy, value))
    return front


def _subject(result: Result) -> tuple[str, str, str, float, bool]:
    return (result.task, result.metric, result.noise, result.noise_scale, _over_model(result))


def _over_model(result: Result) -> bool:
    return result.score.endswith(OVER_MODEL)


def _panels(results: Iterable[Result]) -> list[Panel]:
    panels = []
    for same in group_results(results, _subject).values():
        groups = group_results(same, lambda result: result.conditions)
        values = list(zip(*groups, strict=True))
        varied = [number for number, column in enumerate(values) if len(set(column)) > 1]
        for conditions, own in groups.items():
            apart = (f"{CONDITIONS[number]} {conditions[number][:8] or 'none'}" for number in varied)
            panels.append(Panel(own, ", ".join(apart)))
    return panels


def _series(panel: Sequence[Result]) -> dict[str, list[Point]]:
    """By score, the points at rising fractions."""
    series: dict[str, list[Point]] = {}
    for score, own in group_results(panel, lambda result: result.score.removesuffix(OVER_MODEL)).items():
        groups = group_results(own, lambda result: result.fraction)
        series[score] = [
            (fraction, *mean_and_deviation(groups[fraction]), len(groups[fraction]))
            for fraction in sorted(groups)
        ]
    return series


def _style(scores: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Class and marker of each score; the control is grey."""
    chosen = {}
    others = [score for score in scores if score != CONTROL]
    for index, score in enumerate(others):
        chosen[score] = (f"series-{index % SERIES_COLOURS}", SERIES_MARKERS[index % len(SERIES_MARKERS)])
    return {**chosen, CONTROL: ("control", CONTROL_MARKER)}


def _frame(label: str, names: Iterable[str], x: Sequence[float], y: Iterable[float]) -> Frame:
    """An empty plot with room for the names at its right."""
    right = WIDTH - 22 - max(map(text_width, names))
    canvas = Canvas(WIDTH, HEIGHT, label)
    return Frame(canvas, Scale.around(x, LEFT, right), Scale.around(y, BOTTOM, TOP))


def _axis_title(result: Result) -> str:
    unit = f", {result.unit}" if result.unit else ""
    return f"{result.metric}{unit} ({'higher' if result.higher_is_better else 'lower'} is better)"


def _fraction_figure(panel: Panel) -> Figure:
    first, series = panel.first, _series(panel.results)
    style = _style(series)
    points = list(chain.from_iterable(series.values()))
    edges = chain.from_iterable((mean - deviation, mean + deviation) for _, mean, deviation, _ in points)
    fractions = sorted({fraction for fraction, *_ in points})
    frame = _frame(f"{panel.title} against the digital fraction", series, fractions, edges)
    canvas = frame.canvas
    frame.draw_y_axis(_axis_title(first))
    frame.draw_x_axis("share of experts that is digital", _apart(fractions, frame.x), percent=True)
    ends = []
    for score, own in series.items():
        class_, marker = style[score]
        path = " ".join(f"{frame.x(fraction):.1f},{frame.y(mean):.1f}" for fraction, mean, *_ in own)
        canvas.add("polyline", points=path, class_=f"line {class_}")
        for fraction, mean, deviation, seeds in own:
            _draw_error(frame, frame.x(fraction), mean, deviation, class_)
            text = f"{score} at {100 * fraction:g} %: {mean:.5g} ± {deviation:.2g}, {seeds} seeds"
            canvas.marker(marker, frame.x(fraction), frame.y(mean), f"mark {class_}", text)
        ends.append((score, frame.y(own[-1][1]), class_, marker))
    frame.label_ends(ends)
    columns = ("score", "fraction", "mean", "standard deviation", "seeds")
    rows = tuple((score, *point) for score, own in series.items() for point in own)
    note = "Mean and standard deviation over seeds."
    return Figure(panel.name("fraction"), panel.title, canvas.to_svg(), columns, rows, note)


def _draw_error(frame: Frame, x: float, mean: float, deviation: float, class_: str) -> None:
    if deviation:
        low, high = frame.y(mean - deviation), frame.y(mean + deviation)
        path = f"M{x - 3:.1f} {low:.1f}h6m-3 0V{high:.1f}m-3 0h6"
        frame.canvas.add("path", d=path, class_=f"error {class_}")


def _apart(values: Sequence[float], scale: Scale) -> list[float]:
    """Those of the rising values that leave room for their labels."""
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) > 36:
            kept.append(value)
    return kept


def _energy_figure(panel: Panel, energy: Callable[[float], float]) -> Figure:
    first, series = panel.first, _series(panel.results)
    style = _style(series)
    rows = tuple(
        (score, fraction, 1e3 * energy(fraction), mean)
        for score, own in series.items()
        for fraction, mean, *_ in own
    )
    front = pareto_front(((x, y) for _, _, x, y in rows), higher_is_better=first.higher_is_better)
    frame = _frame(
        f"{panel.title} against energy, with the Pareto front",
        series,
        [x for _, _, x, _ in rows],
        (y for *_, y in rows),
    )
    canvas = frame.canvas
    frame.draw_y_axis(_axis_title(first))
    frame.draw_x_axis("energy, mJ per decoded token")
    steps = [f"M{frame.x(front[0][0]):.1f} {frame.y(front[0][1]):.1f}"]
    steps += [f"H{frame.x(x):.1f}V{frame.y(y):.1f}" for x, y in front[1:]]
    canvas.add("path", d="".join(steps), class_="front")
    energies = {1e3 * energy(fraction): fraction for _, fraction, *_ in rows}
    for at in _apart(sorted(energies), frame.x):
        text = f"{100 * energies[at]:g} %"
        canvas.add("text", text, x=frame.x(at), y=TOP + 2, text_anchor="middle", class_="faint")
    for score, fraction, x, y in rows:
        class_, marker = style[score]
        text = f"{score} at {100 * fraction:g} %: {y:.5g} at {x:.4g} mJ/token"
        canvas.marker(marker, frame.x(x), frame.y(y), f"mark {class_}", text)
    ends = {score: (score, frame.y(y), *style[score]) for score, _, _, y in rows}
    frame.label_ends(list(ends.values()))
    columns = ("score", "fraction", "mJ per token", "mean", "on the Pareto front")
    table = tuple((*row, "yes" if row[2:] in front else "no") for row in rows)
    note = "Dashed: Pareto front, nothing is better at less energy. On top: digital share of experts."
    title = f"{panel.title} by energy"
    return Figure(panel.name("energy"), title, canvas.to_svg(), columns, table, note)


def _sensitivity_figure(panel: Panel) -> Figure:
    first = panel.first
    found = {
        kind: (*mean_and_deviation(own), len(own))
        for kind, own in group_results(panel.results, lambda result: result.kind).items()
    }
    order = sorted(found, key=lambda kind: (kind != "none", found[kind][0]))
    row, left, top = 26, 24 + max(map(text_width, order)), 10
    bottom = top + row * len(order)
    canvas = Canvas(WIDTH, bottom + 46, f"{panel.title} with one kind of unit analog")
    edges = chain.from_iterable((mean - deviation, mean + deviation) for mean, deviation, _ in found.values())
    frame = Frame(canvas, Scale.around(edges, left, WIDTH - 60), Scale(0, len(order), top, bottom))
    for number, kind in enumerate(order):
        mean, deviation, _ = found[kind]
        y = top + row * number + row / 2
        class_ = "digital" if kind == "none" else "analog"
        canvas.add("line", x1=left, x2=WIDTH - 60, y1=y, y2=y, class_="grid")
        canvas.add("text", kind, x=left - 8, y=y + 4, text_anchor="end")
        low, high = frame.x(mean - deviation), frame.x(mean + deviation)
        canvas.add("line", x1=low, x2=high, y1=y, y2=y, class_=f"error {class_}")
        canvas.marker("circle", frame.x(mean), y, f"mark {class_}")
        canvas.add("text", f"{mean:.4g}", x=WIDTH - 54, y=y + 4)
    frame.draw_x_axis(_axis_title(first))
    columns = ("analog kind", "mean", "standard deviation", "seeds")
    rows = tuple((kind, *found[kind]) for kind in order)
    note = "Each kind of unit analog alone; none is all digital."
    title = f"{panel.title} by kind"
    return Figure(panel.name("sensitivity"), title, canvas.to_svg(), columns, rows, note)
