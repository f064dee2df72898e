"""The way of the data: model -> units -> scores -> plan -> lowered graph -> bundle."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.version import __version__
from hetc.bundle.bundle import Bundle
from hetc.bundle.writer import write_bundle
from hetc.costing.budget import Budget, fill_budget, parse_budget
from hetc.costing.cost import CostBasis
from hetc.costing.profile import DEFAULT_COSTS, load_costs
from hetc.hardware.profile import DEFAULT_PROFILE, Profile, load_profile
from hetc.model.load import LoadedModel, load_model
from hetc.model.weights import require_finite
from hetc.operators import schemas
from hetc.passes.analysis.cut_partitions import cut_partitions
from hetc.passes.analysis.find_units import find_units, model_parameters
from hetc.passes.analysis.place_units import RANKINGS, place_units
from hetc.passes.analysis.score_experts import score_experts
from hetc.passes.analysis.set_ranges import set_ranges
from hetc.passes.rewrite.freeze_weights import FreezeWeights
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.rewrite.stamp_targets import StampTargets
from hetc.plan.calibration import Calibration
from hetc.plan.plan import Plan, parse_fraction
from hetc.plan.scores import Scores, load_scores
from hetc.plan.units import DENSE, Unit

__all__ = ["Placement", "compile", "compile_model", "default_output", "load_moe_model", "make_plan"]

logger = logging.getLogger(__name__)

DEFAULT_FRACTION = "0.25"
DEFAULT_RANGE_RULE = "quantile:0.99995"
"""What analog foundation models use for their input ranges (docs/analog-models.md)."""
OPSETS = range(18, 25)
"""Versions of the standard operators that the function bodies are written in."""
LEAST_IR_VERSION = 10


@dataclass(frozen=True)
class Placement:
    """How to decide what is digital.

    Attributes:
        digital_frac: Fraction of the experts of each group to keep digital, 0..1; None for 0.25.
        score: Name of the score that ranks experts.
        ranking: `layer` or `model`: which experts compete.
        digital: Patterns of unit ids to pin digital.
        analog: Patterns of unit ids to pin analog.
        seed: Seed of the programming noise, and of the score `random`.
        calibration: What was recorded of the model; None for ranges that follow each vector.
        range_rule: How the calibration becomes ranges: `max`, `std:KAPPA` or `quantile:SHARE`.
        scores: Measured scores, for names that the weights alone don't give.
        adc_bound_rule: How it becomes ADC bounds: `scale:LAMBDA` or `std:LAMBDA`; None for the profile's.
        budget: What may be digital instead of a fraction, over the whole model (see `hetc.costing.budget`).
        basis: System and step of a budget of energy or latency; None for the default ones.
    """

    digital_frac: str | float | None = None
    score: str = "maxnn"
    ranking: str = "layer"
    digital: tuple[str, ...] = ()
    analog: tuple[str, ...] = ()
    seed: int = 0
    calibration: Calibration | None = None
    range_rule: str = DEFAULT_RANGE_RULE
    scores: Scores | None = None
    adc_bound_rule: str | None = None
    budget: Budget | None = None
    basis: CostBasis | None = None


def compile(
    model: str | Path | onnx.ModelProto | ir.Model | Any,
    output: str | Path | None = None,
    *,
    digital_frac: str | float | None = None,
    budget: Budget | str | None = None,
    basis: CostBasis | None = None,
    plan: Plan | str | Path | None = None,
    score: str = "maxnn",
    scores: Scores | str | Path | None = None,
    ranking: str = "layer",
    digital: Iterable[str] = (),
    analog: Iterable[str] = (),
    profile: Profile | str | Path = DEFAULT_PROFILE,
    seed: int = 0,
    calibration: Calibration | str | Path | None = None,
    range_rule: str = DEFAULT_RANGE_RULE,
    adc_bound_rule: str | None = None,
    link: bool = False,
    force: bool = False,
    allow_partial: bool = False,
) -> Bundle:
    """Compiles an MoE model into a bundle.

    Args:
        model: A path, an onnx ModelProto, an onnx-ir Model or a graphsurgeon Graph. It isn't changed.
        output: Folder of the bundle; by default named after the model, in the current folder.
        digital_frac: Fraction of the experts of each group to keep digital; None for 0.25.
        budget: Instead of a fraction, what may be digital over the whole model: `parameters:20%`,
            `active-parameters:1.3B`, `energy:2.0mJ` or `latency:80us`, the last two per token.
        basis: System and step of a budget of energy or latency; by default decoding a batch of 32 with a
            context of 1024 on `a100+pcm-3d`, serial.
        plan: A plan, or the path of one, to follow instead of deciding; the placement arguments and the
            profile are then unused.
        score: `maxnn`, `maxnn-down-inputs`, `router-norm`, `random`, or one of `scores`.
        scores: Measured scores, or the path of a scores or calibration file.
        ranking: `layer`, or `model` for one order over all layers.
        digital: Patterns of unit ids to pin digital, such as `layers.0.*`.
        analog: Patterns of unit ids to pin analog.
        profile: A profile, the name of a built-in one, or the path of a TOML file.
        seed: Programming seed.
        calibration: A calibration, or the path of one, for static input ranges.
        range_rule: How it becomes ranges: `max`, `std:KAPPA` or `quantile:SHARE`.
        adc_bound_rule: How it becomes ADC bounds: `scale:LAMBDA` times the weight scale, `std:LAMBDA` times
            the expected deviation of a column's output; None for the profile's `out_bound`.
        link: Hard-link weight files into the bundle instead of copying them.
        force: Replace an existing bundle.
        allow_partial: Leave MoE layers of an unknown spelling as they are, digital, instead of refusing.

    Raises:
        UsageError: A bad argument; nothing is left behind.
        InvalidInputError: A model, plan or profile that cannot be used.
        RuntimeMissingError: The operator library is not installed.
    """
    loaded = load_moe_model(model, allow_partial=allow_partial)
    if plan is None:
        if isinstance(calibration, (str, Path)):
            calibration = Calibration.load(Path(calibration))
        if isinstance(scores, (str, Path)):
            scores = load_scores(Path(scores))
        placement = Placement(
            digital_frac,
            score,
            ranking,
            tuple(digital),
            tuple(analog),
            seed,
            calibration,
            range_rule,
            scores,
            adc_bound_rule,
            parse_budget(budget) if isinstance(budget, str) else budget,
            basis,
        )
        hardware = profile if isinstance(profile, Profile) else load_profile(profile)
        plan = make_plan(loaded, placement, hardware)
    elif not isinstance(plan, Plan):
        plan = Plan.load(Path(plan))
    return compile_model(loaded, plan, Path(output or default_output(loaded)), link=link, force=force)


def load_moe_model(
    model: str | Path | onnx.ModelProto | ir.Model | Any, *, allow_partial: bool = False
) -> LoadedModel:
    """Loads a model and makes its MoE layers canonical.

    Args:
        model: See `hetc.model.load.load_model`.
        allow_partial: Leave layers of an unknown spelling as they are instead of refusing.

    Raises:
        UsageError: The path isn't there, or the object is of another kind.
        InvalidInputError: Not a usable model, or an MoE layer of an unknown spelling; names each.
    """
    loaded = load_model(model)
    raising = RaiseExperts()
    raising(loaded.model)
    unknown = [finding for finding in raising.findings if not finding.raised]
    if unknown and not allow_partial:
        raise InvalidInputError(
            f"{len(unknown)} MoE layers have a spelling that hetc doesn't know; --allow-partial leaves them "
            "as they are, digital\n" + "\n".join(f"  {finding}" for finding in unknown)
        )
    return replace(loaded, findings=raising.findings)


def default_output(loaded: LoadedModel) -> Path:
    """`NAME.hetc` in the current folder; a model.onnx is called by its folder's name."""
    file = Path(loaded.source["file"] or "model.onnx").absolute()
    return Path(f"{file.parent.name if file.stem == 'model' and loaded.source['file'] else file.stem}.hetc")


def make_plan(loaded: LoadedModel, placement: Placement, profile: Profile) -> Plan:
    """Finds, scores and places the units; the graph isn't changed.

    Raises:
        UsageError: A fraction, score, ranking or pin that makes no sense.
        InvalidInputError: No MoE layer, or weights that cannot be scored.
    """
    if placement.budget is not None and placement.digital_frac is not None:
        raise UsageError("a budget says what is digital, so a digital fraction can't; give one of the two")
    fraction = parse_fraction(DEFAULT_FRACTION if placement.digital_frac is None else placement.digital_frac)
    ranking = placement.ranking if placement.budget is None else "model"
    if placement.ranking not in RANKINGS:
        raise UsageError(f"ranking {placement.ranking!r} is not known; choose one of {', '.join(RANKINGS)}")
    if not 0 <= placement.seed < 2**63:
        raise UsageError(f"seed {placement.seed} is not in 0 .. 2^63 - 1")
    units = find_units(loaded.model)
    measured = placement.scores.values if placement.scores is not None else None
    scores = score_experts(loaded.model, units, placement.score, seed=placement.seed, measured=measured)
    planned = place_units(
        units,
        scores,
        profile,
        digital_frac=fraction,
        score=placement.score,
        ranking=ranking,
        digital=placement.digital,
        analog=placement.analog,
    )
    digital_frac, spent = format(fraction, "f"), None
    parameters = model_parameters(loaded.model)
    if placement.budget is not None:
        dense = [unit.id for unit in units if unit.kind in DENSE]
        known = (measured or {}).get(placement.score, {})
        scores |= {unit: known[unit] for unit in dense if unit in known}
        basis = placement.basis or CostBasis(load_costs(DEFAULT_COSTS))
        planned, digital_frac, spent = fill_budget(
            planned, scores, placement.score, placement.budget, basis, parameters
        )
    if placement.calibration is not None:
        if loaded.source["sha256"] != placement.calibration.sha256:
            raise InvalidInputError("the calibration was recorded from another model (sha256 differs)")
        planned = set_ranges(
            planned, placement.calibration, placement.range_rule, profile, placement.adc_bound_rule
        )
    elif placement.adc_bound_rule is not None:
        raise UsageError("ADC bounds need a calibration; without one, set the profile's out_bound")
    return Plan(
        units=planned,
        profile=profile,
        seed=placement.seed,
        digital_frac=digital_frac,
        ranking=ranking,
        score=placement.score,
        model_parameters=parameters,
        source=loaded.source,
        hetc={"version": __version__},
        range_rule="dynamic" if placement.calibration is None else placement.range_rule,
        adc_bound_rule=placement.adc_bound_rule or "out_bound",
        findings=loaded.findings,
        budget=spent,
    )


def compile_model(
    loaded: LoadedModel, plan: Plan, output: Path, *, link: bool = False, force: bool = False
) -> Bundle:
    """Rewrites the model as the plan says and writes the bundle; consumes the loaded model.

    Raises:
        InvalidInputError: The plan is for another model, or asks for what can't be.
    """
    schemas.register()
    model = loaded.model
    _require_opset(model)
    units = find_units(model)
    _check_plan(plan, units)
    FreezeWeights(units)(model)
    for unit in plan.units:
        for matrix in unit.matrices if unit.target == "analog" else ():
            require_finite(model, matrix)
    LowerAnalog(plan)(model)
    unit_of = {node: unit.id for unit in plan.units for node in unit.nodes}
    partitions, partition_of = cut_partitions(model, unit_of)
    StampTargets(partition_of, unit_of)(model)
    model.ir_version = max(model.ir_version, LEAST_IR_VERSION)
    plan = replace(plan, partitions=partitions, source=loaded.source)
    return write_bundle(model, plan, output, link=link, force=force)


def _require_opset(model: ir.Model) -> None:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None:
        raise InvalidInputError("the model names no version of the standard operators; export it again")
    if opset not in OPSETS:
        raise InvalidInputError(
            f"the model uses opset {opset}; hetc takes {OPSETS.start} to {OPSETS.stop - 1}: convert it with "
            "onnx.version_converter, or export it again"
        )


def _check_plan(plan: Plan, units: tuple[Unit, ...]) -> None:
    known = {unit.id: unit for unit in units}
    for planned in plan.units:
        unit = known.pop(planned.id, None)
        if unit is None:
            raise InvalidInputError(f"plan: unit {planned.id!r} is not in the model")
        if (planned.matrices, planned.nodes) != (unit.matrices, unit.nodes):
            raise InvalidInputError(
                f"plan: the weights or nodes of unit {planned.id!r} are not those of the model; the plan was "
                "made for another one"
            )
        if planned.target == "analog" and (unit.unsupported or not unit.counted):
            reason = unit.unsupported or f"a {unit.kind} is always digital"
            raise InvalidInputError(f"plan: unit {planned.id!r} cannot be analog: {reason}")
    if known:
        raise InvalidInputError(f"plan: unit {next(iter(known))!r} of the model has no target")
