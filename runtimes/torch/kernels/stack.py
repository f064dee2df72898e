"""Crossbars of many matrices of one shape, as the products' kernels read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from hetc.base.errors import InvalidInputError
from hetc.runtimes.reference.aging import factors
from hetc.runtimes.reference.layout import split
from hetc.runtimes.reference.programming import TINY
from hetc.runtimes.reference.settings import Crossbar
from hetc.runtimes.torch.crossbar import EXACT_CODES, levels
from hetc.runtimes.torch.kernels.programming import program

__all__ = ["BoundUnit", "Part", "ProgrammedStack", "Stack", "program_stack", "programmed_bytes"]

BoundUnit = Literal["scale", "norm"]
"""What ADC bounds count: a column's weight scale, or its Euclidean norm."""

BYTES = 128
"""Bytes of a row that one step of a product takes; a slice's rows end at a multiple of it."""


@dataclass(frozen=True)
class Part:
    """One matrix of each group.

    Attributes:
        weights: `[G, N, K]`, of any strides and floating type.
        columns: Which of the stack's columns they take.
        streams: `[G]`, numbers of the random streams.
        digital_inputs, digital_outputs: `[G, K]` and `[G, N]` bool, what is computed digitally and stands on
            no crossbar; None for nothing.
        bound_digital_inputs, bound_digital_outputs: What of that was so when the ADC's bounds were set.
    """

    weights: torch.Tensor
    columns: slice
    streams: Sequence[int]
    digital_inputs: torch.Tensor | None = None
    digital_outputs: torch.Tensor | None = None
    bound_digital_inputs: torch.Tensor | None = None
    bound_digital_outputs: torch.Tensor | None = None

    def analog(self, *, bound: bool = False) -> torch.Tensor:
        """`[G, N, K]`: the weights, 0 where they are digital, or were when bounds were set.

        What is NaN or infinite shows there as well.
        """
        weights = self.weights.detach()
        inputs, outputs = (
            (self.bound_digital_inputs, self.bound_digital_outputs)
            if bound
            else (self.digital_inputs, self.digital_outputs)
        )
        for mask, axis in ((inputs, 1), (outputs, 2)):
            if mask is not None:
                weights = weights * (~mask).unsqueeze(axis)
        return weights


@dataclass(frozen=True)
class ProgrammedStack:
    """What crossbars of E matrices hold: K inputs in S slices, each R places long, and N outputs.

    Attributes:
        conductances: `[E, N, S * R]`, zeros behind each slice's inputs: bfloat16 or float32 in units of the
            weight scale, or int8 in units of the column slice's level.
        scale: `[E, S, N]` float32, the weight scale.
        worth: `[E, S, N]` float32, a conductance of 1 in units of the weights.
        compensation: `[E, S, N]` float32, factor that undoes the mean drift; None for 1.
        bound_unit: `[E, S, N]` float32, what ADC bounds count; None for plans without them.
        digital_inputs: `[E, K]` bool, the inputs that stand on no crossbar; None for none.
        inputs: K.
        settings: What they were programmed with.
    """

    conductances: torch.Tensor
    scale: torch.Tensor
    worth: torch.Tensor
    compensation: torch.Tensor | None
    bound_unit: torch.Tensor | None
    digital_inputs: torch.Tensor | None
    inputs: int
    settings: Crossbar

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.conductances.device

    @property
    def bytes(self) -> int:
        """What it takes of the device's memory."""
        held = (self.conductances, self.scale, self.worth, self.compensation, self.bound_unit)
        return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)

    def stack(
        self,
        input_range: Sequence[Sequence[float] | None],
        adc_bound: Sequence[Sequence[float] | None],
        members: Sequence[int] | None = None,
    ) -> Stack:
        """The crossbars with their converters.

        Args:
            input_range: For each group `[S]`, or None for the largest of each vector's slice.
            adc_bound: For each group `[S]`, what the ADC takes in units of input range x `bound_unit`; None
                for `out_bound` x weight scale.
            members: Which of the E matrices each group is; None for all.
        """
        settings, slices = self.settings, self.scale.shape[1]
        groups = range(len(self.scale)) if members is None else members

        def table(rows: Sequence[Sequence[float] | None], absent: float) -> torch.Tensor:
            full = [[absent] * slices if row is None else row for row in rows]
            return torch.tensor(full, dtype=torch.float32, device=self.scale.device)

        given = self.scale.new_full(self.scale.shape[:2], math.nan)
        given[list(groups)] = table(adc_bound, math.nan)
        unit = self.scale if self.bound_unit is None else self.bound_unit
        bound = torch.where(
            given[..., None].isnan(), settings.out_bound * self.scale, given[..., None] * unit
        )
        limit, codes = levels(settings.adc_bits), levels(settings.dac_bits)
        if settings.adc_bits:
            live = bound >= TINY
            gain = torch.where(live, limit / (codes * torch.where(live, bound, 1)), 0) * self.worth
            step = torch.where(live, bound / limit, 0)
        else:
            gain, step = self.worth, torch.full_like(self.worth, 1 / codes)
        if self.compensation is not None:
            step = step * self.compensation
        indices = None if members is None else torch.tensor(members, dtype=torch.int32, device=gain.device)
        digital = self.digital_inputs
        if digital is not None:
            digital = digital[list(groups)].to(torch.uint8)
        ranges, dynamic = table(input_range, 0.0), all(row is None for row in input_range)
        return Stack(self.conductances, gain, step, ranges, dynamic, digital, indices, self.inputs, settings)


@dataclass(frozen=True)
class Stack:
    """Crossbars of G groups, which are some or all of E matrices, with their converters.

    Attributes:
        conductances, inputs, settings: As in `ProgrammedStack`.
        gain: `[E, S, N]` float32, from sums of DAC codes x conductances to the ADC's steps.
        step: `[E, S, N]` float32, what a step of the ADC is worth in units of the input range.
        input_range: `[G, S]` float32, range of the DAC; 0 for the largest of the vector's slice.
        dynamic: Whether all ranges are that.
        digital_inputs: `[G, K]` uint8, 1 for the inputs that the DACs don't take; None for none.
        members: `[G]` int32, which of the E matrices each group is; None for all.
    """

    conductances: torch.Tensor
    gain: torch.Tensor
    step: torch.Tensor
    input_range: torch.Tensor
    dynamic: bool
    digital_inputs: torch.Tensor | None
    members: torch.Tensor | None
    inputs: int
    settings: Crossbar

    @property
    def code_type(self) -> torch.dtype:
        """Type of the DAC's codes: that of the conductances, so that tensor cores take both."""
        return self.conductances.dtype

    @property
    def one_dac(self) -> bool:
        """Whether the codes of a vector are the same for every group."""
        return self.dynamic and self.digital_inputs is None

    @property
    def groups(self) -> int:
        """G."""
        return len(self.input_range)


def program_stack(
    parts: Sequence[Part], settings: Crossbar, *, bound_unit: BoundUnit | None = None
) -> ProgrammedStack:
    """Programs matrices with the same inputs, one or more of each group.

    Args:
        parts: They fill the columns; their digital inputs are the same.
        settings: Mode `noisy` or `converters`, noise, tile, converters.
        bound_unit: What ADC bounds count, where there will be any.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    first_part = parts[0]
    groups, _, inputs = first_part.weights.shape
    outputs = sum(part.weights.shape[1] for part in parts)
    slices, padded, kind = _form(inputs, settings, first_part.weights.dtype)
    conductances = first_part.weights.new_empty(groups, outputs, len(slices) * padded, dtype=kind)
    scale, worth, compensation, unit = (
        torch.ones(groups, len(slices), outputs, device=conductances.device) for _ in range(4)
    )
    compensates = settings.programs and settings.drifts and settings.drift_compensation != "none"
    for part in parts:
        columns, weights = part.columns, part.analog()
        largest = _scale(part, weights, settings, slices, part.digital_outputs)
        scale[..., columns] = largest
        if bound_unit == "norm":
            unit[..., columns] = _by_slice(part.analog(bound=True), slices, 2.0)
        elif bound_unit == "scale":
            bound = part.analog(bound=True)
            unit[..., columns] = _scale(part, bound, settings, slices, part.bound_digital_outputs)
        if not settings.programs:
            _keep(weights, slices, conductances[:, columns])
            continue
        streams = torch.tensor(part.streams, dtype=torch.int32, device=weights.device)
        sums = program(weights, streams, largest, conductances[:, columns], settings, part.digital_inputs)
        worth[..., columns] = largest * (sums.largest / 127) if settings.store == "int8" else largest
        if compensates:
            tiles = split(largest.shape[-1], settings.tile_columns)
            compensation[..., columns] = factors(sums.before, sums.now, settings, tiles)
    return ProgrammedStack(
        conductances,
        scale,
        worth,
        compensation if compensates else None,
        unit if bound_unit else None,
        first_part.digital_inputs,
        inputs,
        settings,
    )


def programmed_bytes(inputs: int, outputs: int, settings: Crossbar, weights: torch.dtype) -> int:
    """What a matrix of a `ProgrammedStack` takes, without ADC bounds of a plan and compensation of drift."""
    slices, padded, kind = _form(inputs, settings, weights)
    return outputs * len(slices) * (padded * kind.itemsize + 2 * torch.float32.itemsize)


def _form(inputs: int, settings: Crossbar, weights: torch.dtype) -> tuple[Sequence[slice], int, torch.dtype]:
    """Slices of K, places R of each, and what conductances are kept as."""
    slices, kind = split(inputs, settings.tile_rows), _type(settings, weights)
    padding = BYTES // kind.itemsize
    return slices, -(-slices[0].stop // padding) * padding, kind


def _type(settings: Crossbar, weights: torch.dtype) -> torch.dtype:
    """The narrowest type that holds DAC codes and conductances exactly."""
    if not 0 < settings.dac_bits <= EXACT_CODES:
        return torch.float32
    if not settings.programs:
        return torch.bfloat16 if weights == torch.bfloat16 else torch.float32
    if settings.store == "int8":
        # Codes of more than 8 bits don't fit int8; level numbers fit bfloat16.
        return torch.int8 if settings.dac_bits <= 8 else torch.bfloat16
    return torch.bfloat16 if settings.store == "bfloat16" else torch.float32


def _scale(
    part: Part,
    weights: torch.Tensor,
    settings: Crossbar,
    slices: Sequence[slice],
    digital_outputs: torch.Tensor | None,
) -> torch.Tensor:
    """Weight scale `[G, S, N]` of one part; 0 for digital outputs, which a tile's leaves out."""
    scale = _by_slice(weights, slices, math.inf)
    if settings.scale_mode == "tile":
        for tile in split(scale.shape[-1], settings.tile_columns):
            scale[..., tile] = scale[..., tile].amax(-1, keepdim=True)
    if not scale.isfinite().all():
        group = int((~scale.isfinite()).flatten(1).any(1).nonzero()[0])
        raise InvalidInputError(
            f"weights of stream {part.streams[group]} hold NaN or infinity and can't be programmed"
        )
    return scale if digital_outputs is None else scale.masked_fill(digital_outputs[:, None], 0)


def _keep(weights: torch.Tensor, slices: Sequence[slice], conductances: torch.Tensor) -> None:
    """Clean weights as conductances."""
    padded = conductances.shape[2] // len(slices)
    for index, rows in enumerate(slices):
        place = conductances[..., index * padded : (index + 1) * padded]
        length = rows.stop - rows.start
        place[..., :length] = weights[..., rows]
        place[..., length:] = 0


def _by_slice(weights: torch.Tensor, slices: Sequence[slice], order: float) -> torch.Tensor:
    """`[G, S, N]` float32: a norm of each column slice of weights `[G, N, K]`."""
    norms = [
        torch.linalg.vector_norm(weights[..., rows], order, dim=-1, dtype=torch.float32) for rows in slices
    ]
    return torch.stack(norms, 1)
