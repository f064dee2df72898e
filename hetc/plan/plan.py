"""The plan: every unit with its target and the reason. The only hand-over from analysis to rewriting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.frames import to_frame
from hetc.base.html import html_table
from hetc.base.quantity import quantity
from hetc.base.reading import read_json
from hetc.base.schema import check_record
from hetc.hardware.profile import Profile
from hetc.plan.arithmetic import Arithmetic
from hetc.plan.finding import Finding
from hetc.plan.fractions import DigitalFraction
from hetc.plan.neurons import NeuronRanks
from hetc.plan.planned_unit import PlannedUnit
from hetc.plan.totals import check_totals
from hetc.plan.units import Matrix
from hetc.plan.words import TARGETS, Ranking, Target

if TYPE_CHECKING:
    import pandas

__all__ = ["Partition", "Plan", "PlannedUnit", "Shares", "SpentBudget"]

SCHEMA_VERSION = 1
NEURONS = "neurons.safetensors"

UNIT_COLUMNS = (
    *(
        "id",
        "kind",
        "layer",
        "expert",
        "target",
        "rule",
        "reason",
        "rank",
        "group_size",
        "parameters",
        "tiles",
    ),
    *("pinned", "load", "neurons", "digital_neurons"),
)
"""What a frame of a plan's units says of each."""


@dataclass(frozen=True)
class SpentBudget:
    """A budget and what the plan takes of it.

    Attributes:
        metric: `parameters`, `active-parameters`, `energy` or `latency`.
        requested: The bound, as written.
        achieved: The plan's value: a number of parameters, or joules or seconds per token.
        basis: The system and step that energy and latency are of, in words; empty for parameters.
    """

    metric: str
    requested: str
    achieved: float
    basis: str = ""

    def __str__(self) -> str:
        """For people."""
        unit = {"energy": "J/token", "latency": "s/token"}.get(self.metric, "")
        value = quantity(self.achieved, unit).rstrip()
        return f"{self.metric} {value} of {self.requested}" + (f" ({self.basis})" if self.basis else "")


@dataclass(frozen=True)
class Partition:
    """Nodes of one target that run as one model.

    Attributes:
        index: Number in execution order.
        target: `analog` or `digital`.
        nodes: How many nodes it has.
        units: Ids of the units in it.
        inputs: Names of the tensors that enter it (weights not counted).
        outputs: Names of the tensors that leave it.
    """

    index: int
    target: Target
    nodes: int
    units: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Shares:
    """Parameters by where they are; the three add up to the model."""

    digital: int
    analog: int
    uncounted: int

    def percent(self) -> tuple[float, float, float]:
        """Digital, analog and uncounted share in percent."""
        total = max(1, self.digital + self.analog + self.uncounted)
        return (100 * self.digital / total, 100 * self.analog / total, 100 * self.uncounted / total)


@dataclass(frozen=True, repr=False)
class Plan:
    """Every unit with target, rule, score and rank; hardware, noise and provenance.

    Attributes:
        units: All units, in model order.
        profile: The hardware, noise included.
        seed: Programming seed that the bundle's nodes carry.
        digital_frac: The fraction of experts; with a budget, what the budget made of it.
        ranking: `layer` or `model`: which experts are ranked together.
        score: Name of the score that ranked them.
        model_parameters: All parameters of the model, embedding and norms included.
        source: `file`, `sha256`, `producer` of the model, and `hub` where it is from there.
        partitions: What runs as one model; empty until the graph has been cut.
        hetc: `version` of the tool that made the plan.
        range_rule: `dynamic`, or how a calibration was turned into input ranges.
        adc_bound_rule: `out_bound` for the profile's, or how a calibration was turned into ADC bounds.
        findings: The MoE layers that were not canonical in the source; those not raised stay digital.
        budget: What decided instead of a fraction of the experts, if anything did.
        granularity: What is placed: `expert` for whole units, `neuron`, or `neuron:N` for blocks of N.
        neuron_ranks: The order of single neurons, where they are placed.
        predicted_loss: What the analog units are predicted to cost, in nats per token, by the sensitivities
            of the scores that were given (`device-loss`); None where none were.
        conductances: `folder` and `sha256` of the measured conductances that analog units run on instead of
            being programmed; None where they are programmed.
        arithmetic: What numbers units are stored as in the source, and what digital ones compute in.
        compiled_frac: The fraction that its ADC bounds are for, where another one was chosen since; no part
            of plan.json.
    """

    units: tuple[PlannedUnit, ...]
    profile: Profile
    seed: int
    digital_frac: DigitalFraction
    ranking: Ranking
    score: str
    model_parameters: int
    source: dict[str, str]
    partitions: tuple[Partition, ...] = ()
    hetc: dict[str, str] = field(default_factory=dict)
    range_rule: str = "dynamic"
    adc_bound_rule: str = "out_bound"
    findings: tuple[Finding, ...] = ()
    budget: SpentBudget | None = None
    granularity: str = "expert"
    neuron_ranks: NeuronRanks | None = None
    predicted_loss: float | None = None
    conductances: dict[str, str] | None = None
    arithmetic: tuple[Arithmetic, ...] = ()
    compiled_frac: DigitalFraction | None = None

    def __repr__(self) -> str:
        digital, analog, _ = self.shares.percent()
        return f"Plan({len(self.units)} units, digital {digital:.2f} %, analog {analog:.2f} %)"

    def _repr_html_(self) -> str:
        """What a notebook shows: for each layer what is digital and what is analog."""
        layers = dict.fromkeys(unit.layer for unit in self.units if unit.counted)
        rows = []
        for layer in layers:
            own = [unit for unit in self.units if unit.counted and unit.layer == layer]
            sides = [[unit for unit in own if unit.target == target] for target in TARGETS]
            share = sum(unit.digital_parameters for unit in own) / sum(unit.parameters for unit in own)
            rows.append((layer, f"{share:.1%}", *map(_unit_names, sides)))
        caption = f"{self!r}, {self.score} per {self.ranking}, digital fraction {self.digital_frac}"
        return html_table(caption, ("layer", "digital share", *TARGETS), rows)

    def to_dataframe(self) -> pandas.DataFrame:
        """The units as a pandas frame, without matrices, ranges and nodes.

        Its columns are those attributes of `PlannedUnit` that `UNIT_COLUMNS` names, `digital_share`, and the
        name of each score. `layer`, `expert` and `rank` are integers that may be missing.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        return to_frame(
            {name: getattr(unit, name) for name in UNIT_COLUMNS}
            | {"digital_share": unit.digital_share}
            | unit.score
            for unit in self.units
        )

    @cached_property
    def by_id(self) -> dict[str, PlannedUnit]:
        """The units by id."""
        return {unit.id: unit for unit in self.units}

    @property
    def shares(self) -> Shares:
        """Parameters that run digital and analog, and those that the paper doesn't count."""
        placed: Counter[str] = Counter()
        for unit in self.units:
            if unit.counted:
                placed["digital"] += unit.digital_parameters
                placed["analog"] += unit.parameters - unit.digital_parameters
        digital, analog = placed["digital"], placed["analog"]
        return Shares(digital, analog, self.model_parameters - digital - analog)

    @property
    def noisy(self) -> bool:
        """Whether anything analog is noisy; measured conductances alone are what they are."""
        loud = self.profile.noisy if self.conductances is None else self.profile.disturbs
        return loud and any(unit.target == "analog" for unit in self.units)

    @property
    def programming(self) -> str:
        """What its crossbars hold, in words: a noise model's draws, or conductances that were measured."""
        if self.conductances is not None:
            return "measured conductances of {folder}, sha256 {sha256:.12}".format_map(self.conductances)
        profile = self.profile
        return f"{profile.noise.name}, c = {profile.noise_scale:g}, t = {profile.drift_time:g} s"

    def with_partitions(self, partitions: tuple[Partition, ...]) -> Plan:
        """A copy that knows how the graph was cut."""
        return replace(self, partitions=partitions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data as in plan.json."""
        digital, analog, uncounted = self.shares.percent()
        budget: dict[str, str] = {"metric": "experts", "requested": str(self.digital_frac)}
        achieved: dict[str, float] = {}
        neurons: dict[str, Any] = {}
        measured = {} if self.conductances is None else {"conductances": self.conductances}
        if self.neuron_ranks is not None:
            neurons = {"neurons": {"file": NEURONS, "digest": self.neuron_ranks.digest()}}
        if self.budget is not None:
            budget = {"metric": self.budget.metric, "requested": self.budget.requested}
            budget |= {"basis": self.budget.basis, "digital_frac": str(self.digital_frac)}
            achieved = {"value": self.budget.achieved}
        return {
            "schema_version": SCHEMA_VERSION,
            "hetc": self.hetc,
            "source": self.source,
            "budget": {
                **budget,
                "ranking": self.ranking,
                "score": self.score,
                "achieved": {"digital": digital, "analog": analog, "uncounted": uncounted} | achieved,
            },
            "model_parameters": self.model_parameters,
            "profile": self.profile.to_dict(),
            "seed": self.seed,
            "range_rule": self.range_rule,
            "adc_bound_rule": self.adc_bound_rule,
            "granularity": self.granularity,
            "predicted_loss": self.predicted_loss,
            "arithmetic": [asdict(one) for one in self.arithmetic],
            **neurons,
            **measured,
            "units": [asdict(unit) for unit in self.units],
            "partitions": [asdict(partition) for partition in self.partitions],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def save(self, path: Path) -> None:
        """Writes plan.json, and where neurons are placed their ranks beside it, as `neurons.safetensors`."""
        if self.neuron_ranks is not None:
            self.neuron_ranks.save(path.with_name(NEURONS))
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Reads and checks plan.json, and the ranks of neurons beside it if it has some.

        Raises:
            UsageError: A file cannot be read.
            InvalidInputError: Not JSON, it breaks the published schema, its numbers contradict each other
                (the message names the key), or the ranks beside it are another plan's.
        """
        data = read_json(path, "plan")
        check_record(data, "plan", f"plan {path}")
        units = tuple(map(_planned_unit, data["units"]))
        check_totals(units, data["model_parameters"], f"plan {path}")
        return cls(
            units=units,
            profile=Profile.from_dict(data["profile"]),
            seed=data["seed"],
            digital_frac=_fraction(data["budget"], f"plan {path}"),
            ranking=data["budget"]["ranking"],
            score=data["budget"]["score"],
            model_parameters=data["model_parameters"],
            source=data["source"],
            partitions=tuple(Partition(**_tuples(partition)) for partition in data["partitions"]),
            hetc=data["hetc"],
            range_rule=data["range_rule"],
            adc_bound_rule=data["adc_bound_rule"],
            findings=tuple(Finding(**finding) for finding in data.get("findings", [])),
            budget=_spent_budget(data["budget"]),
            granularity=data.get("granularity", "expert"),
            predicted_loss=data.get("predicted_loss"),
            arithmetic=tuple(Arithmetic(**one) for one in data.get("arithmetic", [])),
            neuron_ranks=_neuron_ranks(path, data.get("neurons"), units),
            conductances=data.get("conductances"),
        )


def _unit_names(units: Sequence[PlannedUnit]) -> str:
    """`experts 0 3 5, attention`, for what is of one layer."""
    experts = [str(unit.expert) for unit in units if unit.kind == "expert"]
    others = [unit.kind for unit in units if unit.kind != "expert"]
    return ", ".join([*([f"experts {' '.join(experts)}"] if experts else []), *others])


def _neuron_ranks(
    path: Path, entry: dict[str, str] | None, units: tuple[PlannedUnit, ...]
) -> NeuronRanks | None:
    if entry is None:
        return None
    beside = path.with_name(entry["file"])
    if not beside.is_file():
        raise UsageError(f"plan {path} keeps the ranks of its neurons in {beside}, which isn't there")
    ranks = NeuronRanks.load(beside, ((unit.id, unit.neurons) for unit in units if unit.rank is not None))
    if ranks.digest() != entry["digest"]:
        raise InvalidInputError(f"neurons {beside}: another plan's; copy a plan and its neurons together")
    return ranks


def _fraction(budget: dict[str, Any], where: str) -> DigitalFraction:
    try:
        return DigitalFraction(budget.get("digital_frac", budget["requested"]))
    except UsageError as error:
        raise InvalidInputError(f"{where}: $.budget: {error}") from error


def _spent_budget(data: dict[str, Any]) -> SpentBudget | None:
    if data["metric"] == "experts":
        return None
    return SpentBudget(data["metric"], data["requested"], data["achieved"]["value"], data["basis"])


def _planned_unit(data: dict[str, Any]) -> PlannedUnit:
    matrices = tuple(Matrix(**matrix) for matrix in data["matrices"])
    by_input = {key: _tuples(data[key]) for key in ("input_ranges", "adc_bounds")}
    return PlannedUnit(**{**_tuples(data), **by_input, "matrices": matrices})


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON knows only lists; with tuples, a plan that was read equals the one that was written."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
