"""Applies a plan to a live transformers model: its analog units compute on crossbars for a while.

    nn.Linear (or GPT-2's Conv1D) of an
    analog dense unit                      ->  `analog_matmul`, the bias added digitally
    experts module with analog experts     ->  expert by expert, each as the plan says

Everything else is transformers' own, in the model's type. Weights are programmed when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError, UsageError
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.applied import Applied, check_shape
from hetc.huggingface.live.host_weights import HostWeights
from hetc.huggingface.live.plain_forward import PlainExperts, PlainLinear, linear_weight
from hetc.huggingface.live.programmings import Programmings
from hetc.operators.words import MODES, Mode, Store
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import at_fraction
from hetc.plan.units import Matrix
from hetc.plan.weight_roles import layer_name, unit_of_weight
from hetc.runtimes.reference.settings import crossbar_of
from hetc.runtimes.torch.support import kernels_run

__all__ = ["apply_plan"]

Forward = Callable[..., torch.Tensor]


@contextmanager
def apply_plan(
    model: nn.Module,
    plan: Plan,
    *,
    mode: Mode | None = None,
    seed: int | None = None,
    digital_frac: FractionLike | None = None,
    noise_scale: float | None = None,
    drift_time: float | None = None,
    read_seed: int | None = None,
    store: Store | None = None,
    programmings: Programmings | None = None,
    low_memory: bool = False,
) -> Iterator[None]:
    """Within the context, the model computes what a bundle of the plan does.

    Args:
        model: A transformers model with the weights that the plan was made for, on any device. Digital units
            compute in its type, analog ones in float32.
        plan: The plan.
        mode: `exact`, `converters` or `noisy`; None for noisy.
        seed: Programming seed; None for the plan's.
        digital_frac: Share of each group's experts, or neurons, that runs digital; None for the plan's. ADC
            bounds of a calibration stay those of the plan as it is.
        noise_scale: Factor c on the programming noise; None for the profile's.
        drift_time: Seconds since programming; None for the profile's.
        read_seed: Seed of the array's reading; None for 0.
        store: What programmed weights are kept as: `bfloat16` (default), `float32` or `int8`.
        programmings: Keeps what is programmed for other plans on this model, whose weights stay what they
            are; None for this plan alone.
        low_memory: Move the clean weights of what was programmed to the host's memory until the context
            ends. The results are the same.

    Raises:
        UsageError: An unknown mode, a value out of range, or a plan that runs on measured conductances.
        InvalidInputError: A plan for another model, or weights that are NaN or infinite.
    """
    mode = choose("mode", mode or "noisy", MODES)
    if plan.conductances is not None:
        raise UsageError(
            "the plan runs on measured conductances, which are in its bundle; run that, without a checkpoint"
        )
    changed = {"noise_scale": noise_scale, "drift_time": drift_time}
    given: dict[str, Any] = {name: value for name, value in changed.items() if value is not None}
    profile = replace(plan.profile, **given)
    plan = at_fraction(replace(plan, profile=profile), digital_frac)
    settings = crossbar_of(
        profile,
        mode,
        seed=plan.seed if seed is None else seed,
        read_seed=read_seed or 0,
        store=store or "bfloat16",
    )
    host = HostWeights(model) if low_memory else None
    forwards = _forwards(model, Applied(plan, settings, programmings or Programmings(0), host))
    try:
        with _replaced(forwards if mode != "exact" else []):
            yield
    finally:
        forwards.clear()  # crossbars that nobody keeps make room for what comes back
        if host:
            host.bring_back()


@contextmanager
def _replaced(forwards: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """Modules with other forwards. Where accelerate brings a module's weights, its hook calls them."""
    before = [(vars(module), _name_of_forward(module)) for module, _ in forwards]
    saved = [attributes.get(name) for attributes, name in before]
    try:
        for (attributes, name), (_, forward) in zip(before, forwards, strict=True):
            attributes[name] = forward
        yield
    finally:
        for (attributes, name), old in zip(before, saved, strict=True):
            attributes.pop(name, None)
            if old is not None:
                attributes[name] = old


def _name_of_forward(module: nn.Module) -> str:
    return "_old_forward" if hasattr(module, "_hf_hook") else "forward"


def _forwards(model: nn.Module, applied: Applied) -> list[tuple[nn.Module, Forward]]:
    """The modules that compute something else while the plan is applied.

    Raises:
        InvalidInputError: An analog unit, or a matrix of one, that the model doesn't have.
    """
    units = {unit.id: unit for unit in applied.plan.units}
    analog = {unit_id: unit for unit_id, unit in units.items() if unit.target == "analog"}
    left = {(unit.id, matrix.projection): matrix for unit in analog.values() for matrix in unit.matrices}
    forwards: list[tuple[nn.Module, Forward]] = []
    for name, module in model.named_modules():
        role = unit_of_weight(f"{name}.weight") if isinstance(module, (nn.Linear, Conv1D)) else None
        matrix = left.pop((role.unit_id, role.projection), None) if role else None
        if role and matrix:
            forwards.append((module, _linear_forward(module, applied, analog[role.unit_id], matrix)))
    for path, module in experts_modules(model):
        ids = [f"{layer_name(path)}.experts.{index}" for index in range(module.num_experts)]
        if not any(unit_id in analog for unit_id in ids):
            continue
        for unit_id in ids:
            for matrix in analog[unit_id].matrices if unit_id in analog else ():
                left.pop((unit_id, matrix.projection))
        forwards.append((module, _experts_forward(module, applied, [units[unit_id] for unit_id in ids])))
    for unit_id, projection in left:
        raise InvalidInputError(
            f"plan: {projection} of unit {unit_id!r} is analog, and the model has neither a linear layer nor "
            "an expert of that name; is it the checkpoint that the plan was made for?"
        )
    return forwards


def _linear_forward(module: Any, applied: Applied, unit: PlannedUnit, matrix: Matrix) -> Forward:
    check_shape(linear_weight(module), unit, matrix)
    if kernels_run(module.weight.device, applied.settings) and isinstance(module, nn.Linear):
        from hetc.huggingface.live.kernel_linear import KernelLinear

        return KernelLinear(module, applied, unit, matrix)
    return PlainLinear(module, applied, unit, matrix)


def _experts_forward(module: Any, applied: Applied, units: Sequence[PlannedUnit]) -> Forward:
    plain = PlainExperts(module, applied, units)  # knows which shapes are wrong
    if kernels_run(module.down_proj.device, applied.settings):
        from hetc.huggingface.live.kernel_experts import KernelExperts

        return KernelExperts(module, applied, units)
    return plain
