"""What `hetc explain` says of a unit, and of one of its neurons."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from rich.console import Console

from hetc.cli.output import counted, new_console
from hetc.compiler.explanation import explain_neuron
from hetc.plan.finding import Finding
from hetc.plan.neurons import NeuronRanks
from hetc.plan.plan import Plan, PlannedUnit

__all__ = ["print_neuron", "print_unit"]

NEURONS_SHOWN = 16


def print_unit(
    plan: Plan, unit: PlannedUnit, flip: Fraction | None, findings: Iterable[Finding] = ()
) -> None:
    """Everything that the plan knows of one unit, in sentences; with what was found of its layer."""
    console = new_console()
    console.print(f"{unit.id} is {unit.target}: {unit.reason} (rule {unit.rule})")
    for name, value in unit.score.items():
        ranked = unit.rank is not None and plan.neuron_ranks is None
        rank = f", rank {(unit.rank or 0) + 1} of {unit.group_size}" if ranked else ""
        console.print(f"score {name} {value:.6g}{rank}")
    if plan.neuron_ranks is not None and unit.id in plan.neuron_ranks.ranks:
        _print_neurons(console, plan, plan.neuron_ranks, unit)
    console.print(f"{counted(unit.parameters, 'parameter')}, {counted(unit.tiles, 'tile')} when analog")
    for site, ranges in unit.input_ranges.items():
        numbers = " ".join(f"{value:.4g}" for value in ranges)
        recording = "its own" if unit.ranges_from == "own" else "its layer's"
        console.print(
            f"input range of {site}: {numbers} per K-slice, {plan.range_rule} of {recording} recording"
        )
    for site, bounds in unit.adc_bounds.items():
        numbers = " ".join(f"{value:.4g}" for value in bounds)
        each = "norm" if plan.adc_bound_rule.startswith("std") else "weight scale"
        console.print(f"ADC bound of {site}: {numbers} x {each} per K-slice, {plan.adc_bound_rule}")
    if flip is None:
        console.print("no digital fraction changes that")
    else:
        console.print(f"digital from --digital-frac {float(flip):g} on, analog below")
    for finding in findings:
        console.print(str(finding))


def _print_neurons(console: Console, plan: Plan, order: NeuronRanks, unit: PlannedUnit) -> None:
    """How many and which neurons are digital, in order of rank, and what they hold of the score."""
    ranks, scores = order.ranks[unit.id], order.scores[unit.id]
    digital = np.argsort(ranks, kind="stable")[: unit.digital_neurons]
    console.print(f"{unit.digital_neurons} of {counted(unit.neurons, 'neuron')} digital", end="")
    if not len(digital):
        console.print()
        return
    more = f" and {len(digital) - NEURONS_SHOWN} more" if len(digital) > NEURONS_SHOWN else ""
    console.print(f", first {' '.join(map(str, digital[:NEURONS_SHOWN]))}{more}")
    total = float(scores.sum(dtype=np.float64))
    if total > 0:
        share = float(scores[digital].sum(dtype=np.float64)) / total
        console.print(
            f"they hold {share:.1%} of its {plan.score}, with {unit.digital_share:.1%} of its weights"
        )


def print_neuron(plan: Plan, unit: PlannedUnit, neuron: int) -> None:
    """The same in sentences; errors as `explain_neuron`."""
    console = new_console()
    known = explain_neuron(plan, unit, neuron)
    if known["rank"] is None or unit.pinned:
        console.print(f"{known['id']} is {known['target']} with its unit: {unit.reason} (rule {unit.rule})")
        return
    first = plan.digital_frac.count(unit.group_size)
    what = "neurons" if plan.granularity == "neuron" else f"blocks of {plan.granularity.partition(':')[2]}"
    console.print(
        f"{known['id']} is {known['target']}: {plan.score} {known['score'][plan.score]:.6g} ranks it "
        f"{known['rank'] + 1} of {unit.group_size} {what}; the first {first} are digital (rule {unit.rule})"
    )
    if known["digital_from"] is not None:
        console.print(f"digital from --digital-frac {float(known['digital_from']):g} on, analog below")
