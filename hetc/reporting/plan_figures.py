"""Figures of a plan and its costs: the placement, how scores are distributed, what a step is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hetc.base.quantity import quantity
from hetc.costing.cost import PART_NAMES, PARTS, Cost, unit_cost
from hetc.costing.profile import CostProfile
from hetc.costing.work import Accounting, Phase, Workload
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.words import Target
from hetc.reporting.drawing import LINE, Canvas, Figure, Frame, Scale, text_width

__all__ = ["cost_figures", "placement_figure", "score_figures"]

BESIDE = ("attention", "shared_expert", "dense_mlp", "router")
"""Kinds of which a layer has one; they stand left of its experts."""
ABBREVIATIONS = {"attention": "attn", "shared_expert": "shared", "dense_mlp": "mlp", "router": "router"}
WIDE, NARROW = 26, 14
"""Side of a cell: wide with few experts, narrow with many, then the figure scrolls."""
FEW_EXPERTS = 32
PALEST = 0.35
"""Opacity of the lowest score."""


def placement_figure(plan: Plan, system: CostProfile, workload: Workload, accounting: Accounting) -> Figure:
    """Layers x units: colour and size say the target, strength the score, each cell reason and cost."""
    layers = sorted({unit.layer for unit in plan.units if unit.layer is not None})
    beside = [kind for kind in BESIDE if any(unit.kind == kind for unit in plan.units)]
    # By their order, not their numbers: a plan may call an expert twenty million.
    experts = sorted({unit.expert for unit in plan.units if unit.expert is not None})
    column_of = {expert: number for number, expert in enumerate(experts)}
    cell = WIDE if len(experts) <= FEW_EXPERTS else NARROW
    beside_width = 46
    left = 62
    grid_left = left + beside_width * len(beside) + 10
    top, width = 34, grid_left + cell * len(experts) + 12
    tail = [unit for unit in plan.units if not _in_grid(unit)]
    canvas = Canvas(
        max(width, 330),
        top + cell * len(layers) + (cell + 8) * bool(tail) + 40,
        "Target of every unit; arrow keys move between units",
        role="grid",
    )
    for index, kind in enumerate(beside):
        x: float = left + beside_width * index + (beside_width - 6) / 2
        canvas.add(
            "text",
            ABBREVIATIONS[kind],
            x=x,
            y=top - 8,
            text_anchor="middle",
            class_="faint",
            aria_hidden="true",
        )
    for expert in experts[:: 8 if cell == NARROW else 4]:
        x = grid_left + cell * column_of[expert] + cell / 2
        canvas.add(
            "text", str(expert), x=x, y=top - 8, text_anchor="middle", class_="faint", aria_hidden="true"
        )
    if experts:
        canvas.add("text", "expert", x=grid_left, y=top - 22, class_="faint", aria_hidden="true")

    strength = _strengths(plan)
    sentences = {unit.id: _sentence(unit, system, workload, accounting) for unit in plan.units}
    row_of = {layer: number for number, layer in enumerate(layers)}
    rows = [canvas.add("g", role="row") for _ in range(len(layers) + bool(tail))]
    for number, layer in enumerate(layers):
        y = top + cell * number + cell / 2 + 4
        canvas.add(
            "text",
            f"layer {layer}",
            parent=rows[number],
            role="rowheader",
            x=left - 8,
            y=y,
            text_anchor="end",
        )
    entry = 0  # the one cell that Tab reaches
    in_tail = 0
    for unit in sorted(plan.units, key=lambda unit: -1 if unit.expert is None else unit.expert):
        size = float(beside_width - 6)
        if unit.layer is None or not _in_grid(unit):
            number, column = len(layers), in_tail
            x = left + 130 * column
            in_tail += 1
        elif unit.expert is None:
            number, column = row_of[unit.layer], beside.index(unit.kind)
            x = left + beside_width * column
        else:
            number, place = row_of[unit.layer], column_of[unit.expert]
            column, x, size = len(beside) + place, grid_left + cell * place, float(cell)
        y = top + cell * number + 8 * (number == len(layers))
        # Analog cells are smaller: nobody needs the colours to tell them apart.
        mark: Target = "digital" if unit.digital_share else "analog"
        inset = 1.0 if mark == "digital" else cell / 5
        canvas.add(
            "rect",
            parent=rows[number],
            role="gridcell",
            tabindex=entry,
            aria_label=sentences[unit.id],
            data_column=column,
            x=x + inset,
            y=y + inset,
            width=size - 2 * inset,
            height=cell - 2 * inset,
            rx=2,
            fill_opacity=strength.get(unit.id, 1.0),
            class_=f"mark {mark}",
        )
        entry = -1
        if number == len(layers):
            canvas.add(
                "text", unit.kind, parent=rows[number], x=x + size + 4, y=y + cell / 2 + 4, aria_hidden="true"
            )
    _draw_legend(canvas, left, top + cell * len(layers) + (cell + 8) * bool(tail) + 20)

    columns = (
        *("unit", "kind", "target", "digital share", "rule", "score", "rank", "reason", "parameters"),
        "J per token",
    )
    table = tuple(
        (
            unit.id,
            unit.kind,
            unit.target,
            round(unit.digital_share, 4),
            unit.rule,
            next(iter(unit.score.values()), ""),
            "" if unit.rank is None else unit.rank + 1,
            unit.reason,
            unit.parameters,
            unit_cost(unit, system, workload, accounting).joules_per_token,
        )
        for unit in plan.units
    )
    stronger = f"higher scores ({plan.score})"
    if plan.neuron_ranks is not None:
        stronger = f"larger shares of digital neurons, up to {_largest_share(plan):.1%}"
    note = f"Stronger colours are {stronger}. Point at a unit, or move with the arrow keys."
    return Figure("placement", "Placement", canvas.to_svg(), columns, table, note)


def _in_grid(unit: PlannedUnit) -> bool:
    """Whether a unit stands in its layer's row; others, such as the LM head, stand below the layers."""
    known = unit.expert is not None if unit.kind == "expert" else unit.kind in BESIDE and unit.expert is None
    return known and unit.layer is not None


def score_figures(plan: Plan) -> list[Figure]:
    """For each score, every expert as a line at its score, layer by layer."""
    names = dict.fromkeys(name for unit in plan.units if unit.kind == "expert" for name in unit.score)
    return [_score_figure(plan, name) for name in names]


def cost_figures(found: Mapping[Phase, Cost]) -> list[Figure]:
    """For each phase, the energy per token of each part."""
    return [_cost_figure(phase, cost) for phase, cost in found.items()]


def _strengths(plan: Plan) -> dict[str, float]:
    """Opacity of each scored unit, by rank: scores themselves spread too unevenly.

    Where neurons are placed, of each unit that has some, by the share of them that is digital.
    """
    if plan.neuron_ranks is not None:
        largest = _largest_share(plan) or 1.0
        shares = {unit.id: unit.digital_share for unit in plan.units if unit.id in plan.neuron_ranks.ranks}
        return {unit: PALEST + (1 - PALEST) * share / largest for unit, share in shares.items()}
    scored = [unit for unit in plan.units if unit.score]
    scored.sort(key=lambda unit: next(iter(unit.score.values())))
    last = max(1, len(scored) - 1)
    return {unit.id: PALEST + (1 - PALEST) * place / last for place, unit in enumerate(scored)}


def _largest_share(plan: Plan) -> float:
    ranks = plan.neuron_ranks.ranks if plan.neuron_ranks is not None else {}
    return max((unit.digital_share for unit in plan.units if unit.id in ranks), default=0.0)


def _sentence(unit: PlannedUnit, system: CostProfile, workload: Workload, accounting: Accounting) -> str:
    def energy(target: Target) -> str:
        cost = unit_cost(replace(unit, target=target), system, workload, accounting)
        return f"{quantity(cost.joules_per_token, 'J')}/token {target}"

    score = "".join(f", {name} {value:.4g}" for name, value in unit.score.items())
    costs = energy(unit.target)
    if unit.counted:
        costs += f", {energy('analog' if unit.target == 'digital' else 'digital')}"
    share = f", {unit.digital_share:.1%} of its neurons digital" if 0 < unit.digital_share < 1 else ""
    return f"{unit.id}: {unit.target}{share}{score}; {unit.reason}; {costs}"


def _draw_legend(canvas: Canvas, x: float, y: float) -> None:
    for index, (target, size) in enumerate((("digital", 14), ("analog", 9))):
        at = x + 80 * index
        inset = (14 - size) / 2
        canvas.add(
            "rect", x=at + inset, y=y - 11 + inset, width=size, height=size, rx=2, class_=f"mark {target}"
        )
        canvas.add("text", target, x=at + 20, y=y, aria_hidden="true")


def _score_figure(plan: Plan, name: str) -> Figure:
    experts = [unit for unit in plan.units if unit.kind == "expert" and name in unit.score]
    layers = sorted({unit.layer for unit in experts if unit.layer is not None})
    row = 16
    top, left, right = 26, 62, 386
    bottom = top + row * len(layers)
    canvas = Canvas(400, bottom + 64, f"Distribution of the score {name} over the experts of each layer")
    frame = Frame(
        canvas,
        Scale.around((unit.score[name] for unit in experts), left, right),
        Scale(0, len(layers), top, bottom),
    )
    for number, layer in enumerate(layers):
        y = top + row * number
        canvas.add("text", f"layer {layer}", x=left - 8, y=y + row / 2 + 4, text_anchor="end")
        for unit in experts:
            if unit.layer == layer:
                inset = 1 if unit.target == "digital" else 4
                canvas.add(
                    "rect",
                    x=frame.x(unit.score[name]) - 1,
                    y=y + inset,
                    width=2,
                    height=row - 2 * inset,
                    class_=f"mark {unit.target}",
                )
    frame.draw_x_axis(name)
    _draw_legend(canvas, left, 16)
    columns = ("layer", "expert", "target", name)
    rows = tuple((unit.layer, unit.expert, unit.target, unit.score[name]) for unit in experts)
    note = "One line per expert."
    return Figure(f"scores-{name}", f"Scores: {name}", canvas.to_svg(), columns, rows, note)


def _cost_figure(phase: str, cost: Cost) -> Figure:
    names = [PART_NAMES[part] for part in PARTS]
    energies = [cost.parts[part].joules / cost.tokens for part in PARTS]
    left, right, top, row = 16 + max(map(text_width, names)), 330, 12, LINE + 9
    canvas = Canvas(400, top + row * len(PARTS) + 8, f"Energy per token of each part of a {phase} step")
    scale = Scale(0, max(energies) or 1.0, left, right)
    for number, (name, energy) in enumerate(zip(names, energies, strict=True)):
        y = top + row * number
        canvas.add("text", name, x=left - 8, y=y + LINE, text_anchor="end")
        kind = (
            "analog" if PARTS[number] == "analog" else "control" if PARTS[number] == "waiting" else "digital"
        )
        length = max(1.0, scale(energy) - left)
        canvas.add("rect", x=left, y=y + 3, width=length, height=LINE, rx=2, class_=f"mark {kind}")
        canvas.add("text", quantity(energy, "J"), x=left + length + 6, y=y + LINE)
    rows = tuple(
        (PART_NAMES[part], cost.parts[part].seconds, cost.parts[part].joules, energy)
        for part, energy in zip(PARTS, energies, strict=True)
    )
    total = (
        f"{cost.tokens_per_second:,.0f} tokens/s, {quantity(cost.watts, 'W')}, "
        f"{quantity(cost.joules_per_token, 'J')}/token"
    )
    columns = ("part", "seconds per step", "joules per step", "joules per token")
    return Figure(f"cost-{phase}", f"Energy of {phase}", canvas.to_svg(), columns, rows, total)
