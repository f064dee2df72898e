"""Applies a plan to a live transformers model: its analog units compute on crossbars for a while.

    nn.Linear (or GPT-2's Conv1D) of an
    analog dense unit                      ->  `analog_matmul`, the bias added digitally
    experts module with analog experts     ->  expert by expert, each as the plan says

Everything else is transformers' own, in the model's type. Weights are programmed when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.expert_forward import Product, expert_weights, run_experts
from hetc.huggingface.live.programmings import Programmings
from hetc.operators.words import MODES, Mode, Store
from hetc.plan.calibration import parse_bound_rule
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import as_compiled, at_fraction, digital_lines
from hetc.plan.units import Matrix
from hetc.plan.weight_roles import layer_name, unit_of_weight
from hetc.runtimes.reference.settings import Crossbar, crossbar_of
from hetc.runtimes.torch.crossbar import Crossbars, Placed, analog_matmul, place
from hetc.runtimes.torch.support import kernels_run

__all__ = ["apply_plan"]


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
        programmings: Keeps what is programmed for other plans on this model; None for this plan alone.

    Raises:
        UsageError: An unknown mode, or a value out of range.
        InvalidInputError: A plan for another model, or weights that are NaN or infinite.
    """
    mode = choose("mode", mode or "noisy", MODES)
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
    forwards = _forwards(model, plan, settings, programmings or Programmings(0))
    try:
        for module, forward in forwards if mode != "exact" else ():
            module.forward = forward
        yield
    finally:
        for module, _ in forwards:
            vars(module).pop("forward", None)


@dataclass
class _Site:
    """Matrices of an analog unit that take the same input.

    Attributes:
        plan, unit, settings: Where they belong.
        programmings: Where its crossbars are kept.
        name: The input's name in the plan: `in` or `mid` of an expert, else the weight's.
        weights: `[N, K]` each.
        matrices: The plan's entry for each.
    """

    plan: Plan
    unit: PlannedUnit
    settings: Crossbar
    programmings: Programmings
    name: str
    weights: Sequence[torch.Tensor]
    matrices: Sequence[Matrix]

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for a weight that isn't the plan's."""
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            _check_shape(weight, self.unit, matrix)

    @cached_property
    def crossbars(self) -> Crossbars:
        """Programmed at first use: experts that no token chooses never are."""
        bounds = self.unit.adc_bounds.get(self.name)
        by_norm = bounds is not None and parse_bound_rule(self.plan.adc_bound_rule)[0] == "std"
        digital = [self._digital(matrix) for matrix in self.matrices]
        placed = [
            Placed(weight, matrix.stream, bounds, by_norm, **lines)
            for weight, matrix, lines in zip(self.weights, self.matrices, digital, strict=True)
        ]
        ranges = self.unit.input_ranges.get(self.name)
        key = (
            *((weight.data_ptr(), weight.stride()) for weight in self.weights),
            *(matrix.stream for matrix in self.matrices),
            self.settings,
            *(None if values is None else tuple(values) for values in (ranges, bounds)),
            by_norm,
            *(mask.tobytes() for lines in digital for mask in lines.values()),
        )
        return self.programmings.get(key, lambda: place(placed, self.settings, ranges))

    def _digital(self, matrix: Matrix) -> dict[str, Any]:
        """Which of a matrix's inputs or outputs are digital, and which were for its ADC bounds."""
        bound = digital_lines(as_compiled(self.plan), self.unit, matrix)
        return {
            **digital_lines(self.plan, self.unit, matrix),
            **{f"bound_{side}": lines for side, lines in bound.items()},
        }

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return analog_matmul(x, self.crossbars)


def _check_shape(weight: torch.Tensor, unit: PlannedUnit, matrix: Matrix) -> None:
    """Raises `InvalidInputError` for a weight `[N, K]` that isn't the plan's."""
    expected = [matrix.outputs, matrix.inputs]
    if list(weight.shape) != expected:
        raise InvalidInputError(
            f"plan: {matrix.projection} of unit {unit.id!r} is {expected}, the model's is "
            f"{list(weight.shape)}; the plan was made for another model"
        )


def _forwards(
    model: nn.Module, plan: Plan, settings: Crossbar, programmings: Programmings
) -> list[tuple[nn.Module, Callable[..., torch.Tensor]]]:
    """The modules that compute something else while the plan is applied.

    Raises:
        InvalidInputError: An analog unit, or a matrix of one, that the model doesn't have.
    """
    analog = {unit.id: unit for unit in plan.units if unit.target == "analog"}
    left = {(unit.id, matrix.projection): matrix for unit in analog.values() for matrix in unit.matrices}
    forwards: list[tuple[nn.Module, Callable[..., torch.Tensor]]] = []
    for name, module in model.named_modules():
        role = unit_of_weight(f"{name}.weight") if isinstance(module, (nn.Linear, Conv1D)) else None
        matrix = left.pop((role.unit_id, role.projection), None) if role else None
        if role and matrix:
            forwards.append(
                (module, _linear_forward(module, plan, analog[role.unit_id], matrix, settings, programmings))
            )
    units = {unit.id: unit for unit in plan.units}
    for path, module in experts_modules(model):
        ids = [f"{layer_name(path)}.experts.{index}" for index in range(module.num_experts)]
        if not any(unit_id in analog for unit_id in ids):
            continue
        for unit_id in ids:
            for matrix in analog[unit_id].matrices if unit_id in analog else ():
                left.pop((unit_id, matrix.projection))
        forwards.append(
            (
                module,
                _experts_forward(module, plan, [units[unit_id] for unit_id in ids], settings, programmings),
            )
        )
    for unit_id, projection in left:
        raise InvalidInputError(
            f"plan: {projection} of unit {unit_id!r} is analog, and the model has neither a linear layer nor "
            "an expert of that name; is it the checkpoint that the plan was made for?"
        )
    return forwards


def _linear_forward(
    module: Any,
    plan: Plan,
    unit: PlannedUnit,
    matrix: Matrix,
    settings: Crossbar,
    programmings: Programmings,
) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    _check_shape(weight, unit, matrix)
    if kernels_run(weight.device, settings) and isinstance(module, nn.Linear):
        from hetc.huggingface.live.kernel_linear import KernelLinear

        return KernelLinear(module, plan, unit, matrix, settings, programmings)
    site = _Site(plan, unit, settings, programmings, matrix.weight, [weight], [matrix])
    return partial(_linear, module, site)


def _experts_forward(
    module: Any,
    plan: Plan,
    units: Sequence[PlannedUnit],
    settings: Crossbar,
    programmings: Programmings,
) -> Callable[..., torch.Tensor]:
    sites = [
        _expert_sites(module, index, plan, unit, settings, programmings) if unit.target == "analog" else None
        for index, unit in enumerate(units)
    ]
    if kernels_run(module.down_proj.device, settings):
        from hetc.huggingface.live.kernel_experts import KernelExperts

        return KernelExperts(module, plan, units, settings, programmings)
    return partial(run_experts, module, sites)


def _linear(module: Any, product: Product, x: torch.Tensor) -> torch.Tensor:
    y = product(x)
    return (y if module.bias is None else y + module.bias).to(x.dtype)


def _expert_sites(
    module: Any,
    index: int,
    plan: Plan,
    unit: PlannedUnit,
    settings: Crossbar,
    programmings: Programmings,
) -> tuple[_Site, _Site]:
    weights = expert_weights(module, index)
    first = [matrix for matrix in unit.matrices if matrix.projection != "down_proj"]
    second = [matrix for matrix in unit.matrices if matrix.projection == "down_proj"]
    return (
        _Site(
            plan, unit, settings, programmings, "in", [weights[matrix.projection] for matrix in first], first
        ),
        _Site(
            plan,
            unit,
            settings,
            programmings,
            "mid",
            [weights[matrix.projection] for matrix in second],
            second,
        ),
    )
