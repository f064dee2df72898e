"""Experts whose analog part runs on the kernels, all of a layer at once.

    sort, DAC, gate and up with their activation, DAC, down, sum over a token's choices

Digital experts of the layer go with them, in products of their own over the same sorted rows; and so do the
digital neurons of analog experts, whose sums the last product adds before it rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.activations import SiLUActivation
from transformers.integrations.moe import _default_apply_gate

from hetc.huggingface.experts import STACKED
from hetc.huggingface.live.applied import Applied
from hetc.huggingface.live.kernel_linear import bound_unit_of
from hetc.huggingface.live.kernel_neurons import DigitalNeurons, digital_mask, take_neurons
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import as_compiled
from hetc.runtimes.torch.kernels.dac import convert
from hetc.runtimes.torch.kernels.products import Addend, Weights, analog_product, block_rows, digital_product
from hetc.runtimes.torch.kernels.rows import Rows, combine, sort_rows
from hetc.runtimes.torch.kernels.stack import Part, ProgrammedStack, Stack, program_stack, programmed_bytes

__all__ = ["KernelExperts"]

FIRST = [name for name in STACKED if name != "down_proj"]
"""The stacked parameters before the neurons."""


@dataclass
class KernelExperts:
    """Forward of an experts module, some or all of whose experts are analog.

    Attributes:
        module: Behind transformers' experts interface.
        applied: What is applied.
        units: Each expert's unit.
    """

    module: Any
    applied: Applied
    units: Sequence[PlannedUnit]

    def __post_init__(self) -> None:
        """Groups are numbered analog experts first."""
        targets = [unit.target for unit in self.units]
        self.analog = [index for index, target in enumerate(targets) if target == "analog"]
        self.digital = [index for index, target in enumerate(targets) if target != "analog"]
        module = self.module
        self.fused = (
            module.has_gate
            and module.is_concatenated
            and "gate_up_proj" in module._parameters
            and "gate_up_proj_bias" not in module._parameters
            and isinstance(module.act_fn, (nn.SiLU, SiLUActivation))
            and type(module)._apply_gate is _default_apply_gate
        )

    @cached_property
    def masks(self) -> NDArray[np.bool_] | None:
        """`[E, I]`: the digital neurons of each expert; None where the analog experts have none."""
        return self._masks_of(self.applied.plan)

    def _masks_of(self, plan: Plan) -> NDArray[np.bool_] | None:
        found = [
            digital_mask(plan, unit, matrix)[0]
            for unit in self.units
            for matrix in unit.matrices
            if matrix.projection == "down_proj"
        ]
        if all(found[index] is None for index in self.analog):
            return None
        neurons = next(len(mask) for mask in found if mask is not None)
        return np.stack([np.zeros(neurons, bool) if mask is None else mask for mask in found])

    @cached_property
    def neurons(self) -> DigitalNeurons | None:
        """The weights of the analog experts' digital neurons."""
        if self.masks is None:
            return None
        [(_, down, _)] = self._stacks(["down_proj"])
        return take_neurons(
            self.masks[self.analog],
            self.analog,
            [(len(STACKED[name]), values, bias) for name, values, bias in self._stacks(FIRST)],
            down,
            alternate=not self.module.is_concatenated,
        )

    @cached_property
    def first(self) -> Stack:
        """Crossbars of gate and up."""
        return self._stack("in", FIRST)

    @cached_property
    def second(self) -> Stack:
        """Crossbars of down."""
        return self._stack("mid", ["down_proj"])

    @cached_property
    def members(self) -> torch.Tensor:
        """The digital experts."""
        return torch.tensor(self.digital, dtype=torch.int32, device=self.module.down_proj.device)

    @cached_property
    def group_of(self) -> torch.Tensor:
        """`[E]`: group of each expert."""
        order = torch.tensor([*self.analog, *self.digital], device=self.module.down_proj.device)
        return order.argsort().to(torch.int32)

    def _stacks(self, names: Sequence[str]) -> list[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Name, weights `[E, N, K]` and biases `[E, N]` of the stacked parameters that the module has."""
        found = []
        for name in names:
            if name in self.module._parameters:
                values = getattr(self.module, name)
                bias = getattr(self.module, f"{name}_bias", None)
                found.append((name, values.mT if self.module.is_transposed else values, bias))
        return found

    def _stack(self, site: str, names: Sequence[str]) -> Stack:
        """The crossbars behind one input.

        All experts of a layer are programmed, as another plan places others, unless they are too large to be
        kept, or memory is short: then the analog ones alone. Other digital neurons are another programming.
        """
        plan, settings, programmings = self.applied.plan, self.applied.settings, self.applied.programmings
        stacks = self._stacks(names)
        analog = [self.units[index] for index in self.analog]
        unit = bound_unit_of(plan, analog, site)
        masks = self.masks, self._masks_of(as_compiled(plan)) if unit else None
        key = (
            self.module,
            site,
            *(matrix.stream for one in self.units for matrix in one.matrices),
            settings,
            unit,
            *(None if one is None else one.tobytes() for one in masks),
        )
        size = sum(
            len(values) * programmed_bytes(values.shape[2], values.shape[1], settings, values.dtype)
            for _, values, _ in stacks
        )
        spared = self.applied.host is not None and bool(self.digital)
        kept = not spared and size <= programmings.limit_on(stacks[0][1].device)

        def program() -> ProgrammedStack:
            return program_stack(self._parts(stacks, masks, all_of_them=kept), settings, bound_unit=unit)

        programmed = programmings.get(key, program) if kept else program()
        return programmed.stack(
            [one.input_ranges.get(site) for one in analog],
            [one.adc_bounds.get(site) for one in analog],
            self.analog if kept and self.digital else None,
        )

    def _parts(
        self,
        stacks: Sequence[tuple[str, torch.Tensor, torch.Tensor | None]],
        masks: Sequence[NDArray[np.bool_] | None],
        *,
        all_of_them: bool,
    ) -> list[Part]:
        """Each projection of the experts, where its columns lie in the module's own order."""
        parts = []
        start = 0
        units = self.units if all_of_them else [self.units[index] for index in self.analog]
        taken = slice(None) if all_of_them else self.analog
        device = self.module.down_proj.device
        digital, bound = (
            None if mask is None else torch.from_numpy(mask[taken]).to(device) for mask in masks
        )
        for name, values, _ in stacks:
            weights = values if all_of_them else values[self.analog]
            projections = STACKED[name]
            width = values.shape[1] // len(projections)
            for place, projection in enumerate(projections):
                if self.module.is_concatenated or len(projections) == 1:
                    own = slice(place * width, (place + 1) * width)
                else:
                    own = slice(place, None, len(projections))
                streams = [
                    matrix.stream
                    for unit in units
                    for matrix in unit.matrices
                    if matrix.projection == f"{projection}_proj"
                ]
                columns = slice(
                    start + (own.start or 0), None if own.stop is None else start + own.stop, own.step
                )
                side = "digital_inputs" if projection == "down" else "digital_outputs"
                parts.append(
                    Part(weights[:, own], columns, streams, **{side: digital, f"bound_{side}": bound})
                )
            start += values.shape[1]
        return parts

    @cached_property
    def _biases(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Biases of the analog products, `[E, N]` each; of the analog experts where these alone are kept."""
        found: list[torch.Tensor | None] = []
        for stack, names in (
            (self.first, FIRST),
            (self.second, ["down_proj"]),
        ):
            biases = [bias for _, _, bias in self._stacks(names) if bias is not None]
            joined = torch.cat(biases, -1) if biases else None
            if joined is not None and stack.members is None:
                joined = joined[self.analog]
            found.append(joined)
        return found[0], found[1]

    def __call__(
        self, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """`[T, H]`, `[T, K]` and `[T, K]` -> `[T, H]`."""
        with torch.cuda.device_of(hidden):  # type: ignore[no-untyped-call] # where Triton launches
            digital = self._digital_weights
            chosen = self.group_of[top_k_index]
            rows = sort_rows(chosen, len(self.units), block_rows(chosen.numel(), len(self.units)))
            y = torch.empty(rows.count, hidden.shape[-1], dtype=hidden.dtype, device=hidden.device)
            hidden = hidden.contiguous()
            self._run_analog(hidden, rows, y)
            if self.digital:
                self._run_digital(hidden, rows, y, digital)
            return combine(y, top_k_weights)

    def _run_analog(self, hidden: torch.Tensor, rows: Rows, y: torch.Tensor) -> None:
        """Everything between the products of an analog expert is float32."""
        first_bias, second_bias = self._biases
        columns = self.first.gain.shape[-1]
        width = columns // 2 if self.fused else columns
        h = torch.empty(rows.count, width, dtype=torch.float32, device=hidden.device)
        codes = convert(hidden, self.first, rows, gather=True)
        analog_product(codes, self.first, rows, out=h, bias=first_bias, fused=self.fused)
        codes = convert(h if self.fused else self._activate(h), self.second, rows)
        plus = self._run_neurons(hidden, rows, self.neurons) if self.neurons else None
        analog_product(codes, self.second, rows, out=y, bias=second_bias, plus=plus, scatter=True)

    def _run_neurons(self, hidden: torch.Tensor, rows: Rows, neurons: DigitalNeurons) -> Addend:
        """The digital neurons of analog experts compute in the model's type; their sums are float32."""
        columns = neurons.first.values.shape[1]
        width = columns // 2 if self.fused else columns
        h = torch.empty(rows.count, width, dtype=hidden.dtype, device=hidden.device)
        digital_product(hidden, neurons.first, rows, out=h, gather=True, fused=self.fused)
        h = h if self.fused else self._activate(h).contiguous()
        out = torch.empty(rows.count, hidden.shape[-1], device=hidden.device)
        return Addend(digital_product(h, neurons.second, rows, out=out))

    @cached_property
    def _digital_weights(self) -> dict[str, Weights]:
        """Of the digital experts, by stacked parameter.

        What else the clean weights are needed for is made before: they may leave the device here.
        """
        made = self.first, self.second, self._biases, self.neurons, self.group_of
        names = [name for name, _, _ in self._stacks([*STACKED])]
        if made and self.applied.host and self.applied.host.take(self.module, names, self.digital):
            return {
                name: Weights(values, bias=None if bias is None else bias[self.digital])
                for name, values, bias in self._stacks(names)
            }
        return {name: Weights(values, self.members, bias) for name, values, bias in self._stacks(names)}

    def _run_digital(
        self, hidden: torch.Tensor, rows: Rows, y: torch.Tensor, weights: dict[str, Weights]
    ) -> None:
        """The others compute in the model's type."""
        firsts = [weights[name] for name in FIRST if name in weights]
        columns = sum(one.values.shape[1] for one in firsts)
        width = columns // 2 if self.fused else columns
        h = torch.empty(rows.count, width, dtype=hidden.dtype, device=hidden.device)
        start, first = 0, len(self.analog)
        for one in firsts:
            end = start + one.values.shape[1]
            part = h if self.fused else h[:, start:end]
            digital_product(hidden, one, rows, out=part, first_group=first, gather=True, fused=self.fused)
            start = end
        h = h if self.fused else self._activate(h).contiguous()
        digital_product(h, weights["down_proj"], rows, out=y, first_group=first, scatter=True)

    def _activate(self, h: torch.Tensor) -> torch.Tensor:
        """The module's own activation of gate and up."""
        activated: torch.Tensor = (
            self.module._apply_gate(h) if self.module.has_gate else self.module.act_fn(h)
        )
        return activated
