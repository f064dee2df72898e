"""What a plan costs on a system: time and energy of one step, in parts, under a named accounting.

No efficiency factor is applied: rates are the vendor's peaks, so that the figures are bounds of the hardware
and comparisons between plans hold as far as their efficiencies are alike.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError
from hetc.base.frames import to_frame
from hetc.base.html import html_table
from hetc.base.quantity import quantity
from hetc.costing.profile import CostProfile
from hetc.costing.work import ACCOUNTINGS, Accounting, Work, Workload, sequential_matrices, unit_work
from hetc.plan.calibration import Calibration
from hetc.plan.plan import Plan, PlannedUnit

if TYPE_CHECKING:
    import pandas

__all__ = [
    "PARTS",
    "PART_NAMES",
    "Cost",
    "CostBasis",
    "Part",
    "plan_cost",
    "recorded_loads",
    "unit_cost",
]

PARTS = ("weights", "cache", "compute", "analog", "transfer", "waiting")
"""Weights and KV cache over the memory bus; digital operations; products in crossbars with their converters;
bytes over the link where partitions meet; the digital device while it waits for the others."""

PART_NAMES = {
    "weights": "weights from memory",
    "cache": "KV cache",
    "compute": "digital compute",
    "analog": "analog products, converters",
    "transfer": "transfers at partitions",
    "waiting": "digital device waiting",
}
"""The same for people."""


@dataclass(frozen=True)
class Part:
    """Time and energy of one of `PARTS` in a step."""

    seconds: float
    joules: float


@dataclass(frozen=True)
class Cost:
    """Time and energy of a step.

    Attributes:
        tokens: Tokens of the step.
        seconds: How long it takes under the accounting; parts may overlap.
        parts: By name, in the order of `PARTS`. Joules add up to the step's.
    """

    tokens: int
    seconds: float
    parts: Mapping[str, Part]

    @property
    def joules(self) -> float:
        """Energy of the step."""
        return sum(part.joules for part in self.parts.values())

    @property
    def tokens_per_second(self) -> float:
        """Throughput."""
        return self.tokens / self.seconds

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds

    @property
    def joules_per_token(self) -> float:
        """Energy per token."""
        return self.joules / self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tokens": self.tokens,
            "seconds": self.seconds,
            "joules": self.joules,
            "tokens_per_second": self.tokens_per_second,
            "watts": self.watts,
            "joules_per_token": self.joules_per_token,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: what the step takes, and of what that is made."""
        caption = (
            f"{self.tokens_per_second:,.0f} tokens/s, {quantity(self.watts, 'W')}, "
            f"{quantity(self.joules_per_token, 'J')}/token"
        )
        rows = [
            (
                PART_NAMES[name],
                quantity(part.seconds, "s"),
                f"{quantity(part.joules / self.tokens, 'J')}/token",
            )
            for name, part in self.parts.items()
        ]
        return html_table(caption, ("part", "time of a step", "energy"), rows)

    def to_dataframe(self) -> pandas.DataFrame:
        """The parts as a pandas frame with the columns `part`, `seconds` and `joules`, both of a step.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return to_frame({"part": name, **asdict(part)} for name, part in self.parts.items())


def plan_cost(
    units: Iterable[PlannedUnit],
    costs: CostProfile,
    workload: Workload,
    accounting: Accounting = "serial",
    loads: Mapping[str, float] | None = None,
) -> Cost:
    """What a step costs.

    Args:
        units: A plan's units, or what `targets_at` makes of them.
        costs: The system.
        workload: The step.
        accounting: One of `ACCOUNTINGS`.
        loads: Share of the tokens that visit each expert, by unit id; None for top-k over E.

    Raises:
        UsageError: An accounting that isn't known.
    """
    loads = loads or {}
    total = Work()
    experts: dict[int | None, list[PlannedUnit]] = defaultdict(list)
    for unit in units:
        work = unit_work(unit, costs, workload, loads.get(unit.id))
        if unit.kind == "expert" and unit.target == "analog":
            experts[unit.layer].append(unit)
            work = replace(work, rounds=0)
        total += work
    for group in experts.values():  # a layer's experts work side by side: the busiest one decides
        busiest = _expected_busiest([loads.get(unit.id, unit.load) for unit in group], workload.tokens)
        total += Work(rounds=busiest * len(sequential_matrices(group[0])))
    return _charge(total, costs, workload, accounting)


def unit_cost(
    unit: PlannedUnit,
    costs: CostProfile,
    workload: Workload,
    accounting: Accounting = "serial",
    load: float | None = None,
) -> Cost:
    """What one unit adds to a step where its target puts it; `replace(unit, target=...)` gives the other.

    Under `serial` and `digital-only` the units' energies add up to the plan's, but for the waiting of the
    digital device: a layer's analog experts work side by side, so the plan counts that once.

    Raises:
        UsageError: An accounting that isn't known.
    """
    return _charge(unit_work(unit, costs, workload, load), costs, workload, accounting)


@dataclass(frozen=True)
class CostBasis:
    """What costs of plans are compared for.

    Attributes:
        costs: The system.
        workload: The step.
        accounting: One of `ACCOUNTINGS`.
    """

    costs: CostProfile
    workload: Workload = field(default_factory=Workload)
    accounting: Accounting = "serial"

    def plan_cost(self, units: Iterable[PlannedUnit]) -> Cost:
        """See `plan_cost`."""
        return plan_cost(units, self.costs, self.workload, self.accounting)

    def unit_cost(self, unit: PlannedUnit) -> Cost:
        """See `unit_cost`."""
        return unit_cost(unit, self.costs, self.workload, self.accounting)

    def __str__(self) -> str:
        """For people."""
        step = f"{self.workload.phase}, batch {self.workload.batch}, context {self.workload.context:,}"
        return f"{self.costs.name}, {step}, {self.accounting}"


def recorded_loads(plan: Plan, calibration: Calibration) -> dict[str, float]:
    """Share of the recorded tokens that visited each expert, by unit id.

    Raises:
        InvalidInputError: A recording of another model, or one without routing.
    """
    if plan.source["sha256"] != calibration.sha256:
        raise InvalidInputError("the calibration was recorded from another model (sha256 differs)")
    experts = [unit.id for unit in plan.units if unit.kind == "expert"]
    missing = [unit for unit in experts if unit not in calibration.routing]
    if missing or not calibration.tokens:
        raise InvalidInputError(
            f"the calibration has no routing of {(missing or experts)[0]}; record it again"
        )
    return {unit: calibration.routing[unit].tokens / calibration.tokens for unit in experts}


def _charge(work: Work, costs: CostProfile, workload: Workload, accounting: Accounting) -> Cost:
    """Seconds and joules of each part; the digital device draws its power for the whole step."""
    accounting = choose("accounting", accounting, ACCOUNTINGS)
    digital, analog, link = costs.digital, costs.analog, costs.link
    seconds = {
        "weights": work.weight_bytes / digital.memory_bandwidth.si,
        "cache": work.cache_bytes / digital.memory_bandwidth.si,
        "compute": work.operations / digital.compute.si,
    }
    busy = sum(seconds.values())
    products = work.rounds * analog.product_time.si
    transfer = work.link_bytes / link.bandwidth.si
    transfer_energy = work.link_bytes * link.energy.si
    if accounting == "serial":
        step = busy + products + transfer
    elif accounting == "overlapped":
        step = max(seconds["weights"] + seconds["cache"], seconds["compute"], products, transfer)
    else:
        step, transfer, transfer_energy = busy, 0.0, 0.0
    # Where memory and compute overlap, the device's energy is shared by time.
    power = digital.power.si * min(1.0, step / busy) if busy else 0.0
    parts = {name: Part(each, power * each) for name, each in seconds.items()}
    product_energy = work.products * analog.product_energy.si * (1 + analog.periphery.si)
    parts["analog"] = Part(products, product_energy)
    parts["transfer"] = Part(transfer, transfer_energy)
    waiting = max(0.0, step - busy)
    parts["waiting"] = Part(waiting, digital.power.si * waiting)
    return Cost(workload.tokens, step, parts)


def _expected_busiest(loads: Iterable[float], tokens: int) -> float:
    """Expected rows of the expert with the most rows, experts being chosen independently of each other.

    E[max] is the sum over k of P(max > k); below the window of 8 deviations that is 1, above it 0.
    """
    counts = Counter(loads)
    mean = max(counts) * tokens
    low = max(0, math.floor(mean - 8 * math.sqrt(mean) - 8))
    high = min(tokens, math.ceil(mean + 8 * math.sqrt(mean) + 8))
    k = np.arange(low, high + 1)
    choices = np.array(
        [math.lgamma(tokens + 1) - math.lgamma(n + 1) - math.lgamma(tokens - n + 1) for n in k]
    )
    none_above = np.ones(len(k))
    for load, experts in counts.items():
        if load in (0.0, 1.0):
            none_above *= k >= load * tokens
            continue
        chance = np.exp(choices + k * math.log(load) + (tokens - k) * math.log1p(-load))
        above = np.cumsum(chance[::-1])[::-1] - chance
        none_above *= (1 - above).clip(0, 1) ** experts
    return low + float(np.sum(1 - none_above))
