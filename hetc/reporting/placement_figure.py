"""The figure of a placement: layers by units, each a cell that says its target and its score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Drawing

from hetc.costing.cost import CostBasis
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.words import Kind, Target
from hetc.reporting.figure import CELLS, Figure, new_drawing
from hetc.reporting.style import LIGHT, RAMP, SIZE, shortened, text_width

__all__ = ["SIDES", "drawn_side", "placement_figure", "side_names"]

BESIDE: tuple[Kind, ...] = ("attention", "shared_expert", "dense_mlp", "router")
"""Kinds of which a layer has one; they stand left of its experts."""
SMALLEST, LARGEST = 6.5, 15.0
"""Pitch of cells in points. Experts that don't fit a line of the smallest stand on further lines."""
TEXT = SIZE + 1
"""Pitch in points of what has a text beside it or above."""
TALLEST = 300.0
"""Height in points above which cells become smaller, to a text's pitch, where layers have one line."""
GAP = 0.5
"""Between a layer's other units and its experts, in cells."""
SIDES: dict[Target, float] = {"digital": 0.86, "analog": 0.56}
"""Side of a cell: analog cells are smaller, so that nobody needs the colours to tell them apart."""

Cell = tuple[float, float]
"""Middle of a cell, in cells from the left and from the top."""


@dataclass(frozen=True)
class Grid:
    """Where cells stand, for one width.

    Attributes:
        plan: The plan.
        pitch: Of the cells, in points.
        per_line: Experts on a line.
    """

    plan: Plan
    pitch: float
    per_line: int

    @property
    def spread(self) -> float:
        """Pitch of what has a text, in cells."""
        return max(1.0, TEXT / self.pitch)

    @classmethod
    def fit(cls, plan: Plan, width: float) -> Grid:
        """The one with the largest cells for a width in points."""
        grid = cls(plan, LARGEST, 1)
        labels = max(map(text_width, [f"layer {layer}" for layer in grid.layers] or ["layer"])) + 14
        room, beside = width - labels, len(grid.beside)
        count = max(1, len(grid.experts))
        per_line = max(1, min(count, int((room - TEXT * beside) / SMALLEST - GAP)))
        lines = -(-count // per_line)
        per_line = -(-count // lines)
        if lines > 1 and per_line > 8:
            per_line -= per_line % 8  # so that the numbers at the lines are round
        pitch = min(LARGEST, room / (beside + GAP + per_line))
        if lines == 1:
            pitch = min(pitch, max(TEXT, TALLEST / max(1, len(grid.layers))))
        if pitch < TEXT:
            pitch = (room - TEXT * beside) / (GAP + per_line)
        return cls(plan, pitch, per_line)

    @property
    def layers(self) -> list[int]:
        return sorted({unit.layer for unit in self.plan.units if unit.layer is not None})

    @property
    def beside(self) -> list[Kind]:
        return [kind for kind in BESIDE if any(unit.kind == kind for unit in self.plan.units)]

    @property
    def experts(self) -> list[int]:
        """In their order, not by their numbers: a plan may call an expert twenty million."""
        return sorted({unit.expert for unit in self.plan.units if unit.expert is not None})

    @property
    def lines(self) -> int:
        """Lines that a layer takes."""
        return max(1, -(-len(self.experts) // self.per_line))

    @property
    def left(self) -> float:
        """Where experts begin."""
        return self.spread * len(self.beside) + GAP * bool(self.beside)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of what `cells` gives, without the units outside of layers."""
        return self.left + self.per_line, self.top(len(self.layers))

    def top(self, row: int) -> float:
        """Where the `row`-th layer begins; layers of several lines stand apart."""
        return row * (self.lines + GAP * (self.lines > 1))

    def cells(self) -> list[Cell]:
        """A cell for each of the plan's units, in their order."""
        row_of = {layer: self.top(row) for row, layer in enumerate(self.layers)}
        column_of = {expert: number for number, expert in enumerate(self.experts)}
        cells, outside = [], 0
        for unit in self.plan.units:
            if unit.layer is None or not _in_grid(unit):
                cells.append((self.spread / 2, self.size[1] + 0.8 + self.spread * outside))
                outside += 1
            elif unit.expert is None:
                column = self.beside.index(unit.kind) + 0.5
                cells.append((self.spread * column, row_of[unit.layer] + 0.5))
            else:
                line, column = divmod(column_of[unit.expert], self.per_line)
                cells.append((self.left + column + 0.5, row_of[unit.layer] + line + 0.5))
        return cells


def drawn_side(unit: PlannedUnit) -> Target:
    """How a unit is drawn: as digital where any of its neurons is."""
    return "digital" if unit.digital_share else "analog"


def side_names(plan: Plan) -> dict[Target, str]:
    """What `drawn_side` means in a plan."""
    if plan.neuron_ranks is None:
        return {"digital": "digital", "analog": "analog"}
    return {"digital": "some neurons digital", "analog": "none digital"}


def placement_figure(plan: Plan, basis: CostBasis) -> Figure:
    """Layers x units: colour and size say the target, strength the score.

    Args:
        plan: The plan.
        basis: What costs are of.
    """
    columns = (
        *("unit", "kind", "target", "digital share", "rule", "score", "rank", "reason", "parameters"),
        *("J per token", "J per token on the other side"),
    )
    rows = tuple(_row(unit, basis) for unit in plan.units)
    note = f"Squares are digital, small ones analog; stronger is {_stronger(plan)}. Point at a unit, or move "
    note += "with the arrow keys, to read why it is there."
    return Figure("placement", "Placement", lambda width: _draw(plan, width), columns, rows, note, wide=True)


def _row(unit: PlannedUnit, basis: CostBasis) -> tuple[object, ...]:
    other = replace(unit, target="analog" if unit.target == "digital" else "digital")
    return (
        unit.id,
        unit.kind,
        unit.target,
        round(unit.digital_share, 4),
        unit.rule,
        next(iter(unit.score.values()), None),
        None if unit.rank is None else unit.rank + 1,
        unit.reason,
        unit.parameters,
        basis.unit_cost(unit).joules_per_token,
        basis.unit_cost(other).joules_per_token if unit.counted else None,
    )


def _stronger(plan: Plan) -> str:
    if plan.neuron_ranks is not None:
        return f"a larger share of digital neurons, up to {_largest_share(plan):.1%}"
    return f"a higher score ({shortened(plan.score)})"


def _draw(plan: Plan, width: float) -> Drawing:
    grid = Grid.fit(plan, width)
    cells = grid.cells()
    right, bottom = grid.size
    outside = [(unit, cell) for unit, cell in zip(plan.units, cells, strict=True) if cell[1] > bottom]
    key = bottom + grid.spread * len(outside) + (0.8 if outside else 0.3) + 8 / grid.pitch
    end = key + 26 / grid.pitch
    heads = max([0.0, *(text_width(_head(kind)) for kind in grid.beside)])
    drawing = new_drawing(width, end * grid.pitch + max(heads, 2 * SIZE) + 12)
    axes = drawing.add_subplot()
    axes.set(xlim=(0, right), ylim=(end, 0), aspect="equal", anchor="NW")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2)

    _label(axes, grid)
    sides = [SIDES[drawn_side(unit)] for unit in plan.units]
    _add_cells(axes, cells, sides, list(map(_colour, plan.units, _steps(plan))), CELLS)
    beyond = 10 / grid.pitch
    for unit, (x, y) in outside:
        axes.text(x + beyond, y, shortened(unit.kind), va="center_baseline", size=SIZE - 1)
    for number, target in enumerate(SIDES):
        y = key + number * 12 / grid.pitch
        steps = RAMP if plan.neuron_ranks is None or target == "digital" else 1
        ramp = [(0.5 + step * 8 / grid.pitch, y) for step in range(steps)]
        colours = [LIGHT[f"{target}{step}"] for step in range(steps)]
        _add_cells(axes, ramp, [SIDES[target] * 7 / grid.pitch] * steps, colours, "key")
        what = "score" if plan.neuron_ranks is None else "share"
        meaning = f"{side_names(plan)[target]}{f', low to high {what}' if steps > 1 else ''}"
        axes.text(0.5 + (RAMP - 1) * 8 / grid.pitch + beyond, y, meaning, va="center_baseline")
    return drawing


def _label(axes: Axes, grid: Grid) -> None:
    """Kinds and experts above the cells, layers and lines left of them."""
    experts = grid.experts
    step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256) if step * grid.pitch > 14)
    numbered = list(range(0, min(len(experts), grid.per_line), step))
    places = [grid.spread * (column + 0.5) for column in range(len(grid.beside))]
    places += [grid.left + column + 0.5 for column in numbered]
    heads = [_head(kind) for kind in grid.beside]
    names = [shortened(str(experts[column]), 40) for column in numbered] if experts else []
    axes.set_xticks(places, [*heads, *names])
    for label in axes.get_xticklabels()[: len(heads)]:
        label.set_rotation(90)
    rows = {grid.top(row) + 0.5: f"layer {layer}" for row, layer in enumerate(grid.layers)}
    for row in range(len(grid.layers)):
        rows |= {grid.top(row) + line + 0.5: f"+{line * grid.per_line}" for line in range(1, grid.lines)}
    kept = sorted(rows)[:: 1 if grid.pitch >= SIZE else 2]
    axes.set_yticks(kept, [rows[at] for at in kept])


def _head(kind: Kind) -> str:
    return kind.replace("_", " ").replace("mlp", "MLP")


def _add_cells(
    axes: Axes, cells: Sequence[Cell], sides: Iterable[float], colours: Sequence[str], gid: str
) -> None:
    """A square for each cell, in one collection: matplotlib writes them in their order."""
    squares = [
        [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
        for (x, y), half in zip(cells, (side / 2 for side in sides), strict=True)
    ]
    collection = PolyCollection(squares, facecolors=colours, linewidths=0, gid=gid, clip_on=False)
    axes.add_collection(collection, autolim=False)


def _colour(unit: PlannedUnit, step: int) -> str:
    return LIGHT[f"{drawn_side(unit)}{step}"]


def _in_grid(unit: PlannedUnit) -> bool:
    """Whether a unit stands in its layer's row; others, such as the LM head, stand below the layers."""
    known = unit.expert is not None if unit.kind == "expert" else unit.kind in BESIDE and unit.expert is None
    return known and unit.layer is not None


def _steps(plan: Plan) -> list[int]:
    """Step on the ramp of each unit, by rank of its score: scores themselves spread too unevenly.

    Where neurons are placed, by the share of them that is digital. What has no score is strong.
    """
    if plan.neuron_ranks is not None:
        largest = _largest_share(plan) or 1.0
        ranked = plan.neuron_ranks.ranks
        shares = [unit.digital_share if unit.id in ranked else largest for unit in plan.units]
        return [min(RAMP - 1, int(RAMP * share / largest)) for share in shares]
    scored = [unit for unit in plan.units if unit.score]
    scored.sort(key=lambda unit: next(iter(unit.score.values())))
    steps = {unit.id: RAMP * place // len(scored) for place, unit in enumerate(scored)}
    return [steps.get(unit.id, RAMP - 1) for unit in plan.units]


def _largest_share(plan: Plan) -> float:
    ranks = plan.neuron_ranks.ranks if plan.neuron_ranks is not None else {}
    return max((unit.digital_share for unit in plan.units if unit.id in ranks), default=0.0)
