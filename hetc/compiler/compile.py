"""The way of the data: model -> plan -> lowered graph -> bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.output import whole_folder
from hetc.bundle.bundle import Bundle
from hetc.bundle.files import MANIFEST
from hetc.bundle.writer import write_bundle
from hetc.compiler.loading import ModelLike, find_model, load_moe_model
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import DEFAULT_PROFILE, Profile, load_profile
from hetc.model.load import LoadedModel
from hetc.model.measured_conductances import MeasuredConductances
from hetc.model.model_folder import model_name
from hetc.model.weights import remember_measured
from hetc.operators import schemas
from hetc.passes.analysis.find_units import find_units
from hetc.passes.rewrite.freeze_weights import FreezeWeights
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.passes.rewrite.restore_quantised import RestoreQuantised
from hetc.passes.rewrite.stamp_targets import StampTargets
from hetc.passes.rewrite.use_conductances import UseConductances
from hetc.passes.run_passes import run_passes
from hetc.plan.plan import Plan
from hetc.plan.units import Unit

__all__ = ["compile", "default_output", "lower_model", "plan_model"]

LEAST_IR_VERSION = 10


def compile(
    model: ModelLike,
    output: str | Path | None = None,
    placement: Placement | None = None,
    *,
    plan: Plan | str | Path | None = None,
    profile: Profile | str | Path | None = None,
    conductances: str | Path | None = None,
    link: bool = False,
    force: bool = False,
    allow_partial: bool = False,
    **choices: Any,
) -> Bundle:
    """Compiles a language model into a bundle.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "demo.hetc", digital_frac=0.25)
        >>> bundle
        Bundle('demo.hetc', digital 34.39 %, analog 61.90 %)

    Args:
        model: A path (of a model, or of a folder with one), `hf://OWNER/NAME[@REVISION][/PATH]` of the hub,
            an onnx ModelProto, an onnx-ir Model or a graphsurgeon Graph. It isn't changed.
        output: Folder of the bundle; by default named after the model, in the current folder.
        placement: What is to be digital. Its fields can be given by themselves instead, by name:
            `digital_frac`, `budget`, `score`, `scores`, `ranking`, `digital`, `analog`, `seed`,
            `calibration`, ... (see `hetc.compiler.placement.Placement`).
        plan: A plan, or the path of one, to follow instead of deciding: it says all that a placement and a
            profile say, so neither can be given.
        profile: A profile, the name of a built-in one, or the path of a TOML file; None for pcm-512.
        conductances: A folder of measured conductances, as `partition_bundle(..., conductances=True)` writes
            them, that analog units run on instead of being programmed.
        link: Hard-link weight files into the bundle instead of copying them.
        force: Replace an existing bundle.
        allow_partial: Leave MoE layers of an unknown spelling as they are, digital, instead of refusing.
        choices: Fields of `Placement`.

    Raises:
        UsageError: A bad argument, or two that contradict, or the output exists; nothing is left behind.
        InvalidInputError: A model, plan or profile that cannot be used.
        RuntimeMissingError: The operator library is not installed.
        OutputError: The output can't be written.
    """
    target = Path(output) if output is not None else default_output(model)
    with whole_folder(target, marker=MANIFEST, force=force) as folder:
        loaded, made = plan_model(
            model,
            placement,
            plan=plan,
            profile=profile,
            conductances=conductances,
            allow_partial=allow_partial,
            **choices,
        )
        bundle = write_bundle(loaded.model, lower_model(loaded, made), folder, link=link)
    if link:
        remember_measured(loaded.model)
    return replace(bundle, path=target.absolute())


def plan_model(
    model: ModelLike,
    placement: Placement | None = None,
    *,
    plan: Plan | str | Path | None = None,
    profile: Profile | str | Path | None = None,
    conductances: str | Path | None = None,
    allow_partial: bool = False,
    **choices: Any,
) -> tuple[LoadedModel, Plan]:
    """The first half of `compile`, whose arguments and errors it has: nothing is rewritten or written."""
    if placement is not None and choices:
        raise UsageError(f"{next(iter(choices))} is given beside a placement; put it into the placement")
    if plan is not None:
        hardware = {} if profile is None else {"profile": profile}
        given = {**choices, **hardware} or ({"placement": placement} if placement is not None else {})
        for name in given:
            option = name.removesuffix("_rule").replace("_", "-")
            raise UsageError(f"--plan already says --{option}; give one of the two")
        made = plan if isinstance(plan, Plan) else Plan.load(Path(plan))
        return load_moe_model(model, allow_partial=allow_partial), _on_conductances(made, conductances)
    asked = placement or Placement(**_tuples(choices))
    named = DEFAULT_PROFILE if profile is None else profile
    hardware_profile = named if isinstance(named, Profile) else load_profile(named)
    loaded = load_moe_model(model, allow_partial=allow_partial)
    return loaded, _on_conductances(make_plan(loaded, asked, hardware_profile), conductances)


def lower_model(loaded: LoadedModel, plan: Plan) -> Plan:
    """Rewrites the loaded model as the plan says; returns the plan with its source and partitions.

    Raises:
        InvalidInputError: The plan is for another model, or asks for what can't be.
    """
    schemas.register()
    model = loaded.model
    units = find_units(model)
    _check_plan(plan, units)
    unit_of = {node: unit.id for unit in plan.units for node in unit.nodes}
    stamp = StampTargets(unit_of)
    run_passes(model, FreezeWeights(units), LowerAnalog(plan), RestoreQuantised(unit_of), stamp)
    if plan.conductances is not None:
        measured = MeasuredConductances(Path(plan.conductances["folder"]))
        run_passes(model, UseConductances(plan, measured))
    model.ir_version = max(model.ir_version, LEAST_IR_VERSION)
    return replace(plan, partitions=stamp.partitions, source=loaded.source)


def _on_conductances(plan: Plan, folder: str | Path | None) -> Plan:
    """The plan with measured conductances: of a folder, or those that it has, which must be the same."""
    if folder is None and plan.conductances is None:
        return plan
    where = Path(plan.conductances["folder"] if folder is None else folder)  # type: ignore[index]
    analog = [unit.id for unit in plan.units if unit.target == "analog"]
    if not analog:
        raise UsageError(f"--conductances {where}: the plan has no analog unit that could run on them")
    digest = MeasuredConductances(where).digest(analog)
    if plan.conductances is not None and digest != plan.conductances["sha256"]:
        raise InvalidInputError(
            f"conductances {where} are not those that the plan was made with (sha256 differs)"
        )
    # What was predicted is the loss of programming, which does not happen.
    measured = {"folder": str(where), "sha256": digest}
    return replace(plan, conductances=measured, predicted_loss=None)


def default_output(model: ModelLike) -> Path:
    """`NAME.hetc` in the current folder; a model.onnx is called by its folder's or repository's name."""
    if not isinstance(model, (str, Path)):
        return Path("model.hetc")
    return Path(f"{model_name(find_model(Path(model)))}.hetc")


def _tuples(choices: dict[str, Any]) -> dict[str, Any]:
    """Patterns may come as any iterable, or as one."""

    def patterns(value: Any) -> tuple[str, ...]:
        return (value,) if isinstance(value, str) else tuple(value)

    return {
        name: patterns(value) if name in ("digital", "analog") else value for name, value in choices.items()
    }


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
            reason = unit.unsupported or f"units of kind {unit.kind} are always digital"
            raise InvalidInputError(f"plan: unit {planned.id!r} cannot be analog: {reason}")
    if known:
        raise InvalidInputError(f"plan: unit {next(iter(known))!r} of the model has no target")
