"""From a model and what the user asks for to a plan; the graph isn't changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.seeds import check_seed
from hetc.base.version import __version__
from hetc.costing.budget import Budget, fill_budget, parse_budget
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.hardware.profile import Profile
from hetc.model.load import LoadedModel
from hetc.model.vision_file import find_vision
from hetc.passes.analysis.device_loss import device_losses, predicted_loss
from hetc.passes.analysis.find_units import find_units, model_parameters
from hetc.passes.analysis.order_neurons import score_in_rounds
from hetc.passes.analysis.outside_units import find_outside
from hetc.passes.analysis.place_units import place_units
from hetc.passes.analysis.score_experts import score_experts
from hetc.passes.analysis.score_neurons import DEVICE_LOSS, score_neurons
from hetc.passes.analysis.set_ranges import set_ranges
from hetc.passes.analysis.unit_arithmetic import unit_arithmetic
from hetc.plan.calibration import Calibration
from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.neurons import block_size
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.scores import Scores, load_scores
from hetc.plan.targets import digital_neurons
from hetc.plan.units import DENSE, Unit, ranked_kind
from hetc.plan.words import RANKINGS, Ranking

__all__ = ["DEFAULT_RANGE_RULE", "Placement", "make_plan"]

DEFAULT_FRACTION = DigitalFraction("0.25")
DEFAULT_RANGE_RULE = "quantile:0.99995"
"""What analog foundation models use for their input ranges (docs/analog-models.md)."""


@dataclass(frozen=True)
class Placement:
    """How to decide what is digital. None stands for the default, which depends on the rest.

    Attributes:
        digital_frac: Fraction of the experts of each group to keep digital, 0..1; None for 0.25.
        budget: Instead of a fraction, what may be digital over the whole model: `parameters:20%`,
            `active-parameters:1.3B`, `energy:2.0mJ` or `latency:80us`, the last two per token.
        basis: System and step of a budget of energy or latency; None for decoding a batch of 32 with a
            context of 1024 on `a100+pcm-3d`, serial.
        score: What ranks experts: `maxnn`, `maxnn-down-inputs`, `router-norm`, `random`, or one of `scores`.
        scores: Measured scores, or the path of a file of scores or of a calibration.
        ranking: Which experts compete: those of a `layer` (the default) or of the `model`, as for a budget,
            for neurons, and for the MLPs of a model without experts.
        granularity: What is placed: `expert` for whole units, `neuron` for their neurons one by one, or
            `neuron:N` for blocks of N in order of rank.
        digital: Patterns of unit ids to pin digital, such as `layers.0.*`.
        analog: Patterns of unit ids to pin analog.
        seed: Seed of the programming noise, and of the score `random`.
        calibration: A calibration, or the path of one, for static input ranges; None for ranges that follow
            each vector.
        range_rule: How it becomes ranges: `max`, `std:KAPPA` or `quantile:SHARE`.
        adc_bound_rule: How it becomes ADC bounds: `scale:LAMBDA` times the weight scale, `std:LAMBDA` times
            the expected deviation of a column's output; None for the profile's `out_bound`.
    """

    digital_frac: FractionLike | None = None
    budget: Budget | str | None = None
    basis: CostBasis | None = None
    score: str = "maxnn"
    scores: Scores | str | Path | None = None
    ranking: Ranking | None = None
    granularity: str = "expert"
    digital: tuple[str, ...] = ()
    analog: tuple[str, ...] = ()
    seed: int = 0
    calibration: Calibration | str | Path | None = None
    range_rule: str | None = None
    adc_bound_rule: str | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for what makes no sense by itself, before any model is opened."""
        _ranking(self)
        block_size(self.granularity)
        if self.digital_frac is not None:
            DigitalFraction(self.digital_frac)
        check_seed(self.seed)
        if self.calibration is None and self.range_rule is not None:
            raise UsageError("--range needs --calibration")
        if self.calibration is None and self.adc_bound_rule is not None:
            raise UsageError("ADC bounds need a calibration; without one, set the profile's out_bound")


def make_plan(loaded: LoadedModel, placement: Placement, profile: Profile) -> Plan:
    """Finds, scores and places the units.

    Args:
        loaded: A model whose MoE layers are canonical.
        placement: What is asked for.
        profile: The hardware.

    Raises:
        UsageError: A fraction, score, ranking, seed or pin that makes no sense, or two that contradict.
        InvalidInputError: No MoE layer, weights that cannot be scored, or scores or a calibration of another
            model.
    """
    block = block_size(placement.granularity)
    fraction = DEFAULT_FRACTION if placement.digital_frac is None else DigitalFraction(placement.digital_frac)
    calibration = _calibration(placement)
    measured = _measured(placement)
    units = find_units(loaded.model)
    ranking = _ranking(placement) or _default_ranking(units, block)
    neuron_scores = None
    if block is None:
        known = _unit_scores(loaded, units, placement.score, measured, profile)
        scores = score_experts(loaded.model, units, placement.score, seed=placement.seed, measured=known)
    else:
        known = {}
        neuron_scores = _neuron_scores(loaded, units, placement, measured, profile)
        scores = {unit: float(numbers.sum()) for unit, numbers in neuron_scores.items()}
    planned, neuron_ranks = place_units(
        units,
        scores,
        profile,
        digital_frac=fraction,
        score=placement.score,
        ranking=ranking,
        digital=placement.digital,
        analog=placement.analog,
        neuron_scores=neuron_scores,
        block=block or 1,
    )
    parameters, spent = model_parameters(loaded.model), None
    if placement.budget is not None:
        dense = known.get(placement.score, {})
        scores |= {unit.id: dense[unit.id] for unit in units if unit.kind in DENSE and unit.id in dense}
        budget = parse_budget(placement.budget) if isinstance(placement.budget, str) else placement.budget
        basis = placement.basis or CostBasis(load_costs())
        planned, fraction, spent, neuron_ranks = fill_budget(
            planned, scores, placement.score, budget, basis, parameters, neuron_scores, block or 1
        )
    if calibration is not None:
        planned = _ranged(planned, placement, calibration, loaded, profile)
    plan = Plan(
        units=planned,
        profile=profile,
        seed=placement.seed,
        digital_frac=fraction,
        ranking=ranking,
        score=placement.score,
        model_parameters=parameters,
        source=loaded.source,
        hetc={"version": __version__},
        range_rule="dynamic" if calibration is None else placement.range_rule or DEFAULT_RANGE_RULE,
        adc_bound_rule=placement.adc_bound_rule or "out_bound",
        findings=(
            *loaded.findings,
            *find_outside(loaded.model),
            *find_vision(loaded.model, loaded.folder),
        ),
        budget=spent,
        granularity=placement.granularity,
        neuron_ranks=neuron_ranks,
        arithmetic=unit_arithmetic(loaded.model, units),
    )
    return replace(plan, predicted_loss=_predicted_loss(loaded, plan, measured))


def _predicted_loss(loaded: LoadedModel, plan: Plan, measured: Scores) -> float | None:
    """What the plan costs, in nats per token, where its scores know what errors cost on its tiles."""
    recorded = measured.sensitivities
    if recorded is None or recorded.tile_rows != plan.profile.tile_rows:
        return None
    analog = [unit for unit in plan.units if unit.target == "analog"]
    masks = {unit.id: digital_neurons(plan, unit) for unit in analog}
    digital = {unit: mask for unit, mask in masks.items() if mask is not None}
    rule = None if plan.adc_bound_rule == "out_bound" else plan.adc_bound_rule
    return predicted_loss(loaded.model, analog, measured, plan.profile, digital, adc_bound_rule=rule)


def _default_ranking(units: Sequence[Unit], block: int | None) -> Ranking:
    """By layer for experts, as in arXiv 2603.02633; neurons, and MLPs without experts, over the model."""
    return "layer" if block is None and ranked_kind(units) == "expert" else "model"


def _ranking(placement: Placement) -> Ranking | None:
    """What the placement says itself."""
    given = None if placement.ranking is None else choose("ranking", placement.ranking, RANKINGS)
    if placement.budget is None:
        return given
    if placement.digital_frac is not None:
        raise UsageError("a budget says what is digital, so a digital fraction can't; give one of the two")
    if given == "layer":
        raise UsageError("--budget ranks over the model; leave --ranking out")
    return "model"


def _calibration(placement: Placement) -> Calibration | None:
    if placement.calibration is None or isinstance(placement.calibration, Calibration):
        return placement.calibration
    return Calibration.load(Path(placement.calibration))


def _measured(placement: Placement) -> Scores:
    if placement.scores is None or isinstance(placement.scores, Scores):
        return placement.scores or Scores()
    return load_scores(Path(placement.scores))


def _unit_scores(
    loaded: LoadedModel, units: Sequence[Unit], name: str, measured: Scores, profile: Profile
) -> Mapping[str, Mapping[str, float]]:
    """Measured scores of whole units by name; `device-loss` is calculated from what was measured."""
    if name != DEVICE_LOSS or measured.sensitivities is None:
        return measured.values
    found = device_losses(loaded.model, units, measured, profile)
    return {**measured.values, name: {unit: float(numbers.sum()) for unit, numbers in found.items()}}


def _neuron_scores(
    loaded: LoadedModel, units: Sequence[Unit], placement: Placement, measured: Scores, profile: Profile
) -> dict[str, NDArray[np.float64]]:
    """The score of every neuron; one that sees the device is taken in rounds."""

    def score(digital: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.float64]]:
        return score_neurons(
            loaded.model,
            units,
            placement.score,
            scores=measured,
            profile=profile,
            digital=digital,
            seed=placement.seed,
        )

    return score_in_rounds(score) if placement.score == DEVICE_LOSS else score({})


def _ranged(
    planned: tuple[PlannedUnit, ...],
    placement: Placement,
    calibration: Calibration,
    loaded: LoadedModel,
    profile: Profile,
) -> tuple[PlannedUnit, ...]:
    """The units with the input ranges and ADC bounds that the calibration gives them."""
    if loaded.source["sha256"] != calibration.sha256:
        raise InvalidInputError("the calibration was recorded from another model (sha256 differs)")
    rule = placement.range_rule or DEFAULT_RANGE_RULE
    return set_ranges(planned, calibration, rule, profile, placement.adc_bound_rule)
