"""Figures of measured results: against the digital fraction, the noise, energy, and by unit kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hetc.evaluation.results import OVER_MODEL, Result, group_results, mean_and_deviation
from hetc.reporting.figure import LINE, Figure, add_legend, new_drawing
from hetc.reporting.panels import CONTROL, Panel, Point, panels, series_of
from hetc.reporting.style import LIGHT, look, shortened, text_width

__all__ = ["energy_figures", "fraction_figures", "pareto_front", "scale_figures", "sensitivity_figures"]

HEIGHT = 150.0
"""Of a plot without heading and legend, in points."""
NARROWEST = 150.0
"""Width of a plot beside others, in points."""
REFERENCE: dict[str, Any] = {"color": LIGHT["ink"], "linestyle": (0, (4, 2)), "linewidth": 1}
"""The line of what all digital gives."""
COLUMNS = ("mean", "standard deviation", "seeds")


def fraction_figures(results: Sequence[Result], every: Sequence[Result] = ()) -> list[Figure]:
    """Mean and standard deviation over seeds against the digital fraction, a line per score.

    Scores that rank over the model have figures of their own, and so have other scales, profiles and data.

    Args:
        results: What to draw.
        every: Where to look for what all digital gives; `results` if empty.
    """
    found = panels((result for result in results if not result.kind), every or results)
    return [_fraction_figure(panel) for panel in found]


def scale_figures(results: Sequence[Result]) -> list[Figure]:
    """Mean and standard deviation against the noise scale c, where there are several.

    One figure holds all scores and fractions, a plot for each fraction; another one the kinds of unit that
    were analog alone.
    """
    placed, by_kind = (
        [result for result in results if bool(result.kind) == kinds] for kinds in (False, True)
    )
    return [
        _scale_figure(panel)
        for some in (placed, by_kind)
        for panel in panels(some, results, over_scales=True)
        if len(panel.scales) > 1
    ]


def energy_figures(
    results: Sequence[Result], energy: Callable[[float], float], every: Sequence[Result] = ()
) -> list[Figure]:
    """Means against energy with the Pareto front.

    Args:
        results: What to draw.
        energy: Joules per token at a digital fraction.
        every: As for `fraction_figures`.
    """
    found = panels((result for result in results if not result.kind), every or results)
    return [_energy_figure(panel, energy) for panel in found]


def sensitivity_figures(results: Sequence[Result], every: Sequence[Result] = ()) -> list[Figure]:
    """What it does to put one kind of unit alone on analog tiles; `every` as for `fraction_figures`."""
    found = panels((result for result in results if result.kind), every or results)
    return [_sensitivity_figure(panel) for panel in found]


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


def _looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each series; the control is grey."""
    others = [name for name in names if name != CONTROL]
    return {name: look(number) for number, name in enumerate(others)} | {CONTROL: (LIGHT["control"], "P")}


def _draw_series(
    axes: Axes, series: Mapping[str, Sequence[Point]], looks: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Draws a line for each series; gives what stands for them in a legend."""
    handles = {}
    for name, points in series.items():
        colour, marker = looks[name]
        at, means, deviations = ([point[number] for point in points] for number in range(3))
        look: dict[str, Any] = {"color": colour, "marker": marker, "elinewidth": 0.9, "label": name}
        handles[name] = axes.errorbar(at, means, deviations, **look).lines[0]
    return handles


def _draw_reference(line: Callable[..., Any], panel: Panel) -> dict[str, Any]:
    """Draws what all digital gives with `axes.axhline` or `axes.axvline`; likewise for the legend."""
    if panel.reference is None:
        return {}
    return {f"all digital: {panel.reference:.4g}": line(panel.reference, **REFERENCE)}


def _headed_drawing(panel: Panel, width: float, height: float = HEIGHT) -> Drawing:
    """A drawing with room for plots of that height below the panel's heading."""
    heading = panel.heading(width - 12)
    drawing = new_drawing(width, height + 30 + LINE * heading.count("\n"))
    drawing.suptitle(heading, x=0.01, ha="left", size="medium")
    return drawing


def _fraction_figure(panel: Panel) -> Figure:
    series = series_of(panel.results, "fraction")
    looks = _looks(series)

    def draw(width: float) -> Drawing:
        drawing = _headed_drawing(panel, width)
        axes = drawing.add_subplot(xlabel=f"share of {_ranked(panel)} that is digital")
        reference = _draw_reference(axes.axhline, panel)
        axes.locator_params(axis="x", nbins=5, steps=[1, 2, 2.5, 5, 10])
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
        add_legend(drawing, _draw_series(axes, series, looks) | reference, width)
        return drawing

    rows = tuple((score, *point) for score, own in series.items() for point in own)
    return Figure(panel.name("fraction"), panel.title, draw, ("score", "fraction", *COLUMNS), rows)


def _ranked(panel: Panel) -> str:
    neurons = [" of neurons" in result.score for result in panel.results]
    return "neurons" if all(neurons) else "experts or neurons" if any(neurons) else "experts"


def _scale_figure(panel: Panel) -> Figure:
    """A plot for each fraction between none and all; those two are one line each, whatever ranks."""
    kinds = bool(panel.first.kind)
    groups: dict[tuple[float, str], list[Point]] = {}
    for result_of, own in group_results(
        panel.results, lambda one: (0.0, one.kind) if kinds else (one.fraction, _score(one))
    ).items():
        (points,) = series_of([_unnamed(one) for one in own], "noise_scale").values()
        groups[result_of] = points
    ends = {at: points for (at, _), points in reversed(groups.items()) if at in (0, 1) and not kinds}
    inner = sorted({at for at, _ in groups if kinds or at not in (0, 1)}) or [0.0]
    names = list(dict.fromkeys(name for at, name in groups if at in inner and name != "none"))
    looks = _looks(names)

    def draw(width: float) -> Drawing:
        down = -(-len(inner) // max(1, int(width // NARROWEST)))
        across = -(-len(inner) // down)
        drawing = _headed_drawing(panel, width, 10 + (HEIGHT - 20) * down)
        plots = drawing.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        reference: dict[str, Any] = {}
        for fraction, axes in zip(inner, plots.flat, strict=False):
            reference = _draw_reference(axes.axhline, panel)
            own = {name: groups[at, name] for at, name in groups if at == fraction and name in looks}
            if 0.0 in ends and fraction:
                own["nothing digital"] = ends[0.0]
            handles |= _draw_series(axes, own, {**looks, "nothing digital": (LIGHT["ink"], "x")})
            axes.locator_params(axis="x", nbins=5)
            if not kinds and len(inner) > 1:
                axes.set_title(f"{100 * fraction:g} % digital")
        for axes in plots.flat[len(inner) :]:
            axes.set_visible(False)
        for axes in plots[-1]:
            axes.set_xlabel("noise scale c")
        add_legend(drawing, handles | reference, width)
        return drawing

    columns = ("analog kind",) if kinds else ("score", "fraction")
    rows = tuple(
        (*((name,) if kinds else (name, at)), *point) for (at, name), own in groups.items() for point in own
    )
    title = f"{panel.title}{' by kind' if kinds else ''}"
    name = panel.name("kinds-against-noise" if kinds else "noise")
    return Figure(name, title, draw, (*columns, "c", *COLUMNS), rows, wide=len(inner) > 1)


def _score(result: Result) -> str:
    return result.score.removesuffix(OVER_MODEL)


def _unnamed(result: Result) -> Result:
    """One of a series that its group names."""
    return Result(**{**vars(result), "score": ""})


def _energy_figure(panel: Panel, energy: Callable[[float], float]) -> Figure:
    series = series_of(panel.results, "fraction")
    looks = _looks(series)
    better = panel.first.higher_is_better
    points = [
        (score, fraction, 1e3 * energy(fraction), mean)
        for score, own in series.items()
        for fraction, mean, *_ in own
    ]
    front = pareto_front(((x, y) for *_, x, y in points), higher_is_better=better)

    def draw(width: float) -> Drawing:
        drawing = _headed_drawing(panel, width)
        axes = drawing.add_subplot(xlabel="energy, mJ per decoded token")
        reference = _draw_reference(axes.axhline, panel)
        handles = {}
        for name in series:
            colour, marker = looks[name]
            own = [(x, y) for score, _, x, y in points if score == name]
            look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": ""}
            (handles[name],) = axes.plot(*zip(*own, strict=True), **look)
        axes.margins(0.06, 0.1)
        axes.autoscale_view()
        _draw_front(axes, front, higher_is_better=better)
        axes.locator_params(axis="x", nbins=5)
        _label_fractions(axes, {x: fraction for _, fraction, x, _ in points}, width - 70)
        add_legend(drawing, handles | reference, width)
        return drawing

    columns = ("score", "fraction", "mJ per token", "mean", "on the Pareto front")
    rows = tuple((*point, point[2:] in front) for point in points)
    note = "Line: Pareto front, nothing is better at less energy. On top: share that is digital."
    return Figure(panel.name("energy"), f"{panel.title} by energy", draw, columns, rows, note)


def _draw_front(axes: Axes, front: Sequence[tuple[float, float]], *, higher_is_better: bool) -> None:
    """Steps from the worst value at the least energy to the right edge: a line even with one point on it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    xs = [front[0][0], *(x for x, _ in front), right]
    ys = [bottom if higher_is_better else top, *(y for _, y in front), front[-1][1]]
    axes.step(xs, ys, where="post", color=LIGHT["ink"], linewidth=1, zorder=1)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _label_fractions(axes: Axes, fractions: Mapping[float, float], room: float) -> None:
    """Digital shares on a second axis on top, as many as have room."""
    (left, right) = axes.get_xlim()
    shown: dict[float, str] = {}
    free = left - right
    for at in sorted(fractions):
        label = f"{100 * fractions[at]:.3g} %"
        half = (text_width(label) / 2 + 3) / room * (right - left)
        if at - half > free:
            shown[at], free = label, at + half
    above = axes.secondary_xaxis("top")
    above.set_xticks(list(shown), list(shown.values()))
    above.spines[:].set_visible(False)
    above.tick_params(length=0, pad=1)


def _sensitivity_figure(panel: Panel) -> Figure:
    found = {
        kind: (*mean_and_deviation(own), len(own))
        for kind, own in group_results(panel.results, lambda result: result.kind).items()
    }
    order = sorted(found, key=lambda kind: (kind != "none", found[kind][0]))

    def draw(width: float) -> Drawing:
        drawing = _headed_drawing(panel, width, 14 * len(order) + 20)
        axes = drawing.add_subplot(xlabel=shortened(panel.first.metric, 90))
        reference = _draw_reference(axes.axvline, panel)
        labels = [shortened(kind) for kind in order]
        for row, kind in enumerate(order):
            mean, deviation, _ = found[kind]
            colour = LIGHT["digital" if kind == "none" else "analog"]
            axes.errorbar(mean, row, xerr=deviation, color=colour, marker="s" if kind == "none" else "o")
        axes.set_yticks(range(len(order)), labels)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        if reference:
            add_legend(drawing, reference, width)
        return drawing

    columns = ("analog kind", *COLUMNS)
    rows = tuple((kind, *found[kind]) for kind in order)
    note = "Each kind of unit analog alone; none is all digital."
    return Figure(panel.name("sensitivity"), f"{panel.title} by kind", draw, columns, rows, note)
