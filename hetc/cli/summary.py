"""What commands show people: placements, units and checks as rich tables, plain when not a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from hetc.bundle.checks import Check
from hetc.cli.output import counted, is_quiet, new_console
from hetc.hardware.profile import Profile
from hetc.plan.arithmetic import Arithmetic
from hetc.plan.finding import Finding
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.scores import Scores
from hetc.plan.units import DENSE, Unit, ranked_kind

__all__ = ["print_checks", "print_plan", "print_scores", "print_units"]

LAYERS_SHOWN = 8
"""Models with more layers show the first ones and how many follow; the plan has them all."""


def print_plan(plan: Plan, bundle: Path | None = None) -> None:
    """The placement per layer, the shares, the noise, and what to type next."""
    console = new_console()
    layers: dict[int | None, list[PlannedUnit]] = defaultdict(list)
    for unit in plan.units:
        if unit.kind == "expert" or unit.kind in DENSE:
            layers[unit.layer].append(unit)
    outside = layers.pop(None, [])
    kind = ranked_kind(plan.units)
    what = "neurons" if plan.neuron_ranks is not None else "experts" if kind == "expert" else "MLPs"
    columns = (f"digital {what}", "analog") if what != "MLPs" else ()
    placed = _neurons if what == "neurons" else _experts
    table = Table("layer", *columns, "dense modules", box=None, pad_edge=False)
    for layer in list(layers)[:LAYERS_SHOWN]:
        cells = placed(layers[layer]) if columns else ()
        table.add_row(str(layer), *cells, _dense(layers[layer]))
    if outside:
        table.add_row("", *([""] * len(columns)), _dense(outside))
    console.print(table)
    if len(layers) > LAYERS_SHOWN:
        console.print(
            f"... and {counted(len(layers) - LAYERS_SHOWN, 'more layer')} (hetc inspect --json shows all)"
        )
    shares = "digital {:.2f} %, analog {:.2f} %, uncounted {:.2f} %".format(*plan.shares.percent())
    console.print(f"parameters  {plan.model_parameters:,}: {shares} (router, embedding, norms)")
    profile = plan.profile
    tiles = sum(unit.tiles for unit in plan.units if unit.target == "analog")
    console.print(
        f"hardware    {profile.name}: tiles {profile.tile_rows} x {profile.tile_columns}, "
        f"DAC {_bits(profile.dac_bits)}, ADC {_bits(profile.adc_bits)}, bound {_bound(plan)}, "
        f"range {_ranges(plan)}, scale per {profile.scale_mode}; {counted(tiles, 'tile')}"
    )
    console.print(f"noise       {plan.programming}, {_product_noise(profile)} per product, seed {plan.seed}")
    console.print(
        f"placement   {plan.score} per {plan.ranking}, digital fraction {plan.digital_frac} of {what}; "
        f"{sum(unit.pinned for unit in plan.units)} pinned"
    )
    packed = any(row.stored != row.values for row in plan.arithmetic)
    if packed or (bundle is None and plan.arithmetic):  # what compile prints is short
        console.print(f"numbers     {_arithmetic(plan.arithmetic)}")
    if plan.budget is not None:
        console.print(f"budget      {plan.budget}")
    if plan.predicted_loss is not None:
        console.print(
            f"predicted   {plan.predicted_loss:.4f} nats a token more than all digital (device-loss)"
        )
    for finding in plan.findings:
        if not finding.raised:
            console.print(f"left as is  {finding}")
    if bundle is not None:
        source = f" --source {plan.source['file']}" if plan.source["file"] else ""
        console.print(f"bundle      {bundle}")
        if not is_quiet():
            console.print(f"next        hetc verify {bundle}{source}")


def _experts(units: Sequence[PlannedUnit]) -> tuple[str, str]:
    """Which of a layer's experts are digital, and how many are not."""
    experts = [unit for unit in units if unit.kind == "expert"]
    if not experts:
        return "", ""
    digital = [str(unit.expert) for unit in experts if unit.target == "digital"]
    return f"{len(digital)}: {' '.join(digital)}" if digital else "none", str(len(experts) - len(digital))


def _neurons(units: Sequence[PlannedUnit]) -> tuple[str, str]:
    """How many neurons of a layer's experts (or of its MLP) are digital, and how many are not."""
    ranked = [unit for unit in units if unit.kind == "expert"] or [
        unit for unit in units if unit.kind == "dense_mlp"
    ]
    digital, every = sum(unit.digital_neurons for unit in ranked), sum(unit.neurons for unit in ranked)
    return (f"{digital:,} ({digital / every:.1%})", f"{every - digital:,}") if every else ("", "")


def _dense(units: Sequence[PlannedUnit]) -> str:
    return ", ".join(map(_side, (unit for unit in units if unit.kind in DENSE))) or "none"


def _side(unit: PlannedUnit) -> str:
    """`attention analog`; `attention 12.5 % digital` where a part of it is."""
    if unit.target == "analog" and unit.digital_neurons:
        return f"{unit.kind} {unit.digital_share:.1%} digital"
    return f"{unit.kind} {unit.target}"


def _product_noise(profile: Profile) -> str:
    amounts = {"output noise": profile.output_noise, "weight noise": profile.weight_noise}
    amounts["IR drop"] = profile.ir_drop
    return " and ".join(f"{name} {amount:g}" for name, amount in amounts.items() if amount) or "none"


def _arithmetic(rows: Sequence[Arithmetic]) -> str:
    """What digital units compute in, kinds that compute alike together."""
    kinds: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        kinds[str(row)][row.kind] = None
    return "; ".join(f"{', '.join(names)} {how}" for how, names in kinds.items())


def print_units(
    units: Sequence[Unit],
    parameters: int,
    findings: Iterable[Finding] = (),
    arithmetic: Sequence[Arithmetic] = (),
) -> None:
    """What was recognised in a model: kinds with counts and parameters, and what cannot be analog."""
    console = new_console()
    layers = {unit.layer for unit in units if unit.kind == "expert"}
    experts = sum(unit.kind == "expert" for unit in units)
    if units and not experts:
        console.print(f"a dense model, without experts, {counted(parameters, 'parameter')}")
    else:
        found = (counted(len(layers), "MoE layer"), counted(experts, "expert"))
        console.print(", ".join((*found, counted(parameters, "parameter"))))
    table = Table("kind", "units", "parameters", "share", box=None, pad_edge=False)
    for kind in dict.fromkeys(unit.kind for unit in units):
        chosen = [unit for unit in units if unit.kind == kind]
        size = sum(unit.parameters for unit in chosen)
        table.add_row(kind, str(len(chosen)), f"{size:,}", f"{100 * size / parameters:.2f} %")
    rest = parameters - sum(unit.parameters for unit in units)
    table.add_row("norms and other", "", f"{rest:,}", f"{100 * rest / parameters:.2f} %")
    console.print(table)
    if arithmetic:
        console.print(f"digital units: {_arithmetic(arithmetic)}")
    for unit in units:
        if unit.counted and unit.unsupported:
            console.print(f"{unit.id} stays digital: {unit.unsupported}")
    for finding in findings:
        console.print(str(finding))


def print_scores(scores: Scores) -> None:
    """What was measured, for how many units, and where."""
    console = new_console()
    for name, values in scores.values.items():
        low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
        console.print(f"score {name}: {counted(len(values), 'unit')}, {low:.6g} to {high:.6g}")
    for key, value in scores.origin.items():
        console.print(f"{key}  {value}")


def print_checks(checks: Iterable[Check]) -> None:
    """One line per check: status, name, what was seen."""
    console = new_console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for check in checks:
        colour = {"ok": "green", "failed": "red"}.get(check.status, "yellow")
        mend = f"; mend: {check.mend}" if check.mend else ""
        table.add_row(Text(check.status, colour), check.name, f"{check.detail}{mend}")
    console.print(table)


def _ranges(plan: Plan) -> str:
    if plan.range_rule == "dynamic":
        return "per vector"
    borrowed = sum(unit.ranges_from == "layer" for unit in plan.units)
    return plan.range_rule + (f" ({counted(borrowed, 'unit')} of their layer's)" if borrowed else "")


def _bound(plan: Plan) -> str:
    return f"{plan.profile.out_bound:g}" if plan.adc_bound_rule == "out_bound" else plan.adc_bound_rule


def _bits(bits: int) -> str:
    return f"{bits} bit" if bits else "none"
