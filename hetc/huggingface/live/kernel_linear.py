"""Linear layers whose analog part runs on the kernels: DAC, product, and what is digital of them added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from hetc.huggingface.live.applied import Applied
from hetc.huggingface.live.kernel_neurons import Mask, digital_mask
from hetc.plan.calibration import parse_bound_rule
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import as_compiled
from hetc.plan.units import Matrix
from hetc.runtimes.torch.kernels.dac import convert
from hetc.runtimes.torch.kernels.products import Addend, Weights, analog_product, digital_product
from hetc.runtimes.torch.kernels.stack import BoundUnit, Part, Stack, program_stack

__all__ = ["DigitalLines", "KernelLinear", "bound_unit_of"]


def bound_unit_of(plan: Plan, units: Sequence[PlannedUnit], site: str) -> BoundUnit | None:
    """What the plan's ADC bounds for an input count, None where it has none."""
    if not any(site in unit.adc_bounds for unit in units):
        return None
    return "norm" if parse_bound_rule(plan.adc_bound_rule)[0] == "std" else "scale"


@dataclass(frozen=True)
class DigitalLines:
    """The digital inputs or outputs of one matrix.

    Attributes:
        axis: `inputs` or `outputs`.
        lines: `[D]` int64, their numbers.
        weights: `[1, N, D]` or `[1, D, K]`, their weights, in the model's type.
        places: For outputs, `[N]` int32, where each one lies among the D; -1 for analog ones.
    """

    axis: str
    lines: torch.Tensor
    weights: torch.Tensor
    places: torch.Tensor | None

    @classmethod
    def of(cls, weight: torch.Tensor, inputs: Mask | None, outputs: Mask | None) -> DigitalLines | None:
        """Those of a weight `[N, K]`; None where nothing is digital."""
        mask = outputs if inputs is None else inputs
        if mask is None:
            return None
        lines = torch.from_numpy(np.flatnonzero(mask)).to(weight.device)
        if inputs is not None:
            return cls("inputs", lines, weight.detach()[:, lines].contiguous()[None], None)
        places = np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)
        return cls("outputs", lines, weight.detach()[lines][None], torch.from_numpy(places).to(weight.device))

    def __call__(self, x: torch.Tensor) -> Addend:
        """What they add to the product of x `[M, K]`."""
        if self.axis == "inputs":
            out = torch.empty(len(x), self.weights.shape[1], device=x.device)
            return Addend(digital_product(x[:, self.lines], Weights(self.weights), out=out))
        out = torch.empty(len(x), len(self.lines), dtype=x.dtype, device=x.device)
        return Addend(digital_product(x, Weights(self.weights), out=out), self.places)


@dataclass
class KernelLinear:
    """Forward of an `nn.Linear` on crossbars.

    Attributes:
        module: The layer.
        applied: What is applied.
        unit, matrix: What the plan says of it.
    """

    module: Any
    applied: Applied
    unit: PlannedUnit
    matrix: Matrix

    @cached_property
    def stack(self) -> Stack:
        """Its crossbars, programmed at first use."""
        weight, site = self.module.weight, self.matrix.weight
        plan, settings = self.applied.plan, self.applied.settings
        unit = bound_unit_of(plan, [self.unit], site)
        bound = as_compiled(plan) if unit else plan
        masks = *self._masks, *digital_mask(bound, self.unit, self.matrix)
        digital = (None if one is None else torch.from_numpy(one).to(weight.device)[None] for one in masks)
        part = Part(weight[None], slice(0, len(weight)), [self.matrix.stream], *digital)
        programmed = self.applied.programmings.get(
            (
                self.module,
                self.matrix.stream,
                settings,
                unit,
                *(None if one is None else one.tobytes() for one in masks),
            ),
            lambda: program_stack([part], settings, bound_unit=unit),
        )
        return programmed.stack([self.unit.input_ranges.get(site)], [self.unit.adc_bounds.get(site)])

    @cached_property
    def _masks(self) -> tuple[Mask | None, Mask | None]:
        return digital_mask(self.applied.plan, self.unit, self.matrix)

    @cached_property
    def lines(self) -> DigitalLines | None:
        """Its digital inputs or outputs."""
        return DigitalLines.of(self.module.weight, *self._masks)

    @cached_property
    def _programmed(self) -> tuple[Stack, DigitalLines | None]:
        """All that its weight is needed for."""
        made = self.stack, self.lines
        if self.applied.host:
            self.applied.host.take(self.module, ["weight"])
        return made

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., K]` -> `[..., N]`."""
        flat = x.reshape(-1, x.shape[-1])
        bias = self.module.bias
        out = torch.empty(len(flat), self.matrix.outputs, dtype=x.dtype, device=x.device)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call] # where Triton launches
            stack, lines = self._programmed
            analog_product(
                convert(flat, stack),
                stack,
                out=out,
                bias=None if bias is None else bias[None],
                plus=lines(flat) if lines else None,
            )
        return out.reshape(*x.shape[:-1], -1)
