"""Matrix products on analog crossbars in torch, as `docs/operators.md` defines them: DAC, product, ADC.

All K-slices of a matrix are computed at once. The noise of products is `hetc.runtimes.torch.reading`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hetc.runtimes.reference.layout import Layout, Mask, lay_out
from hetc.runtimes.reference.programming import TINY, program_slices, weight_scale
from hetc.runtimes.reference.settings import Crossbar
from hetc.runtimes.torch.reading import Readings

__all__ = ["EXACT_CODES", "Crossbars", "Digital", "Placed", "analog_matmul", "levels", "place"]

MOST_DOUBLING = 1000.0
MOST_DRAWS = 2**23
"""Outputs that draw their noise at once: each takes some hundred bytes on the way."""
EXACT_CODES = 9
"""Bits of the largest DAC whose codes are exact in bfloat16."""


@dataclass(frozen=True)
class Placed:
    """A matrix that is to be programmed.

    Attributes:
        weight: `[N, K]`, as `nn.Linear` keeps it.
        stream: Number of its random stream.
        adc_bound: `[S]`, what the ADC takes in units of input range x `reference`; None for the profile's
            out_bound.
        bound_by_norm: Whether that unit is a column's Euclidean norm, not its weight scale.
        digital_inputs, digital_outputs: `[K]` and `[N]`, what is computed digitally; None for nothing.
        bound_digital_inputs, bound_digital_outputs: What of that was so when the ADC's bounds were set: the
            unit of a bound is taken over the rest.
    """

    weight: torch.Tensor
    stream: int
    adc_bound: Sequence[float] | None = None
    bound_by_norm: bool = False
    digital_inputs: Mask | None = None
    digital_outputs: Mask | None = None
    bound_digital_inputs: Mask | None = None
    bound_digital_outputs: Mask | None = None


@dataclass(frozen=True)
class Digital:
    """Products that are computed digitally: k of the inputs times n of the outputs.

    Attributes:
        inputs, outputs: `[k]` and `[n]` int64, which they are.
        weights: `[k, n]` float32.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Crossbars:
    """One or more matrices that share a DAC, side by side. K inputs in S slices of R rows, N outputs.

    Attributes:
        conductances: `[S, R, N]`, in units of the weight scale, float32 or bfloat16; slices that are a row
            shorter end with zeros.
        gain: `[S, 1, N]` float32, from sums of DAC codes x conductances to the ADC's steps.
        step: `[S, 1, N]` float32, what a step of the ADC is worth in units of the input range; a column
            that holds nothing has 0.
        rows: `[S, R]` int64, which input each row takes; K for none. Digital inputs are taken by none.
        input_range: `[S, 1, 1]` float32, range of the DAC; None for the largest of each vector's slice.
        settings: Converters.
        digital: What is added digitally. A digital output has a gain and step of 0.
        readings: What the noise of products needs; None where they draw none.
    """

    conductances: torch.Tensor
    gain: torch.Tensor
    step: torch.Tensor
    rows: torch.Tensor
    input_range: torch.Tensor | None
    settings: Crossbar
    digital: tuple[Digital, ...] = ()
    readings: Readings | None = None

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.conductances.device

    @property
    def bytes(self) -> int:
        """What it takes of the device's memory."""
        held = (self.conductances, self.gain, self.step, *(part.weights for part in self.digital))
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def place(
    matrices: Sequence[Placed], settings: Crossbar, input_range: Sequence[float] | None = None
) -> Crossbars:
    """Programs matrices with the same inputs onto crossbars.

    Args:
        matrices: Their outputs follow each other in the result; they have the same digital inputs.
        settings: Mode `noisy` or `converters`, noise, tile and converters.
        input_range: `[S]`, range of the DAC; None for the largest of each vector's slice.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    device = matrices[0].weight.device
    inputs = matrices[0].weight.shape[1]
    layouts = [_layout(matrix, settings) for matrix in matrices]
    longest = max(map(len, layouts[0].rows))
    rows = torch.full((len(layouts[0].rows), longest), inputs, device=device)
    for index, taken in enumerate(layouts[0].rows):
        rows[index, : len(taken)] = torch.from_numpy(taken)
    placed = [
        _place_one(matrix, settings, layout, longest)
        for matrix, layout in zip(matrices, layouts, strict=True)
    ]
    conductances, gain, step, worth, scale, to_steps = (
        torch.cat(parts, -1) for parts in zip(*placed, strict=True)
    )
    readings = None
    if settings.disturbs:
        ends = np.cumsum([len(matrix.weight) for matrix in matrices]).tolist()
        readings = Readings(
            [torch.from_numpy(taken).to(device) for taken in layouts[0].rows],
            [slice(start, end) for start, end in itertools.pairwise([0, *ends])],
            [matrix.stream for matrix in matrices],
            worth,
            scale,
            to_steps,
        )
    if device.type == "cuda" and settings.store == "bfloat16" and settings.programs and _exact(settings):
        conductances = conductances.bfloat16()
    return Crossbars(
        conductances,
        gain,
        step,
        rows,
        None if input_range is None else gain.new_tensor(input_range)[:, None, None],
        settings,
        tuple(_digital_parts(matrices)),
        readings,
    )


def _layout(matrix: Placed, settings: Crossbar) -> Layout:
    outputs, inputs = matrix.weight.shape
    tile = settings.tile_rows, settings.tile_columns
    return lay_out(inputs, outputs, *tile, matrix.digital_inputs, matrix.digital_outputs)


def _digital_parts(matrices: Sequence[Placed]) -> Iterator[Digital]:
    """Digital inputs times all outputs, then the other inputs times the digital outputs."""
    if all(matrix.digital_inputs is None and matrix.digital_outputs is None for matrix in matrices):
        return
    first, device = matrices[0], matrices[0].weight.device
    whole = torch.cat([matrix.weight.detach() for matrix in matrices]).T
    inputs, outputs = (np.zeros(lines, bool) for lines in whole.shape)
    if first.digital_inputs is not None:
        inputs |= first.digital_inputs
    starts = np.cumsum([0, *(len(matrix.weight) for matrix in matrices)])
    for start, matrix in zip(starts[:-1], matrices, strict=True):
        if matrix.digital_outputs is not None:
            outputs[start : start + len(matrix.weight)] |= matrix.digital_outputs
    for taken, made in ((inputs, np.ones_like(outputs)), (~inputs, outputs)):
        if taken.any() and made.any():
            rows, columns = (torch.from_numpy(np.flatnonzero(lines)).to(device) for lines in (taken, made))
            yield Digital(rows, columns, whole[rows][:, columns].float())


def _exact(settings: Crossbar) -> bool:
    return 0 < settings.dac_bits <= EXACT_CODES


def _place_one(matrix: Placed, settings: Crossbar, layout: Layout, longest: int) -> tuple[torch.Tensor, ...]:
    """Conductances, gain, step, and `Readings`' tables of one matrix; 0 for outputs that are digital."""
    clean = matrix.weight.detach().float().T
    slices, columns = len(layout.rows), torch.from_numpy(layout.columns).to(clean.device)
    conductances = clean.new_zeros(slices, longest, clean.shape[1])
    step, worth, scale, to_steps = (clean.new_zeros(slices, 1, clean.shape[1]) for _ in range(4))
    codes, limit = levels(settings.dac_bits), levels(settings.adc_bits)
    programmed_slices = program_slices(clean, settings, matrix.stream, layout=layout)
    for index, (rows, programmed) in enumerate(zip(layout.rows, programmed_slices, strict=True)):
        conductances[index, : len(rows), columns] = programmed.conductances
        part = clean[torch.from_numpy(rows).to(clean.device)][:, columns]
        largest = weight_scale(part, settings, layout.tiles)
        if matrix.adc_bound is None:
            bound = settings.out_bound * largest
        else:
            bound = matrix.adc_bound[index] * _bound_unit(matrix, clean, settings, index)[columns]
        live = bound >= TINY
        if settings.adc_bits:
            to_steps[index, 0, columns] = torch.where(live, limit / (codes * torch.where(live, bound, 1)), 0)
            of_step = torch.where(live, bound / limit, 0)
        else:
            to_steps[index, 0, columns] = 1
            of_step = torch.full_like(bound, 1 / codes)
        step[index, 0, columns] = of_step * programmed.compensation
        worth[index, 0, columns] = programmed.scale
        scale[index, 0, columns] = largest
    return conductances, to_steps * worth, step, worth, scale, to_steps


def _bound_unit(matrix: Placed, clean: torch.Tensor, settings: Crossbar, index: int) -> torch.Tensor:
    """`[N]`: what the ADC's bound of a slice of `clean [K, N]` counts, 0 for outputs that were digital."""
    inputs, outputs = clean.shape
    tile = settings.tile_rows, settings.tile_columns
    layout = lay_out(inputs, outputs, *tile, matrix.bound_digital_inputs, matrix.bound_digital_outputs)
    rows, columns = (
        torch.from_numpy(lines).to(clean.device) for lines in (layout.rows[index], layout.columns)
    )
    part = clean[rows][:, columns]
    unit = clean.new_zeros(clean.shape[1])
    unit[columns] = part.norm(dim=0) if matrix.bound_by_norm else weight_scale(part, settings, layout.tiles)
    return unit


def analog_matmul(x: torch.Tensor, crossbars: Crossbars) -> torch.Tensor:
    """Operator `AnalogMatMul`, in mode `noisy` or `converters` as the crossbars were placed.

    Args:
        x: `[..., K]`, floating point.
        crossbars: The matrices.

    Returns:
        `[..., N]` float32.
    """
    settings = crossbars.settings
    flat = x.reshape(-1, x.shape[-1]).float()
    at_once = max(1, MOST_DRAWS // crossbars.step.shape[-1])
    if crossbars.readings and len(flat) > at_once:
        parts = [analog_matmul(part, crossbars) for part in torch.split(flat, at_once)]
        return torch.cat(parts).reshape(*x.shape[:-1], -1)
    slices = torch.nn.functional.pad(flat, (0, 1))[:, crossbars.rows].transpose(0, 1)
    if crossbars.input_range is None:
        reach = slices.abs().amax(-1, keepdim=True)
    else:
        reach = crossbars.input_range.expand(-1, len(flat), 1)
    value = _product(slices, reach, crossbars)
    if settings.adc_bits:
        limit = levels(settings.adc_bits)
        if settings.bound_management == "iterative":
            value, reach = _widen(value, slices, reach, crossbars)
        value = value.round_().clamp_(-limit, limit)
    y = (value * (torch.where(reach < TINY, 0, reach) * crossbars.step)).sum(0)
    for part in crossbars.digital:
        y[:, part.outputs] += flat[:, part.inputs] @ part.weights
    finite = flat.isfinite().all(1, keepdim=True)
    return torch.where(finite, y, torch.nan).reshape(*x.shape[:-1], y.shape[-1])


def _product(x: torch.Tensor, reach: torch.Tensor, crossbars: Crossbars) -> torch.Tensor:
    """What the ADCs see, `[S, M, N]`, for `x [S, M, R]` and the ranges of its vectors `[S, M, 1]`."""
    settings, conductances = crossbars.settings, crossbars.conductances
    codes = x.clamp(-reach, reach) * torch.where(
        reach < TINY, 0, levels(settings.dac_bits) / reach.clamp(TINY)
    )
    readings = crossbars.readings
    if readings and settings.dac_bits and settings.dac_rounding == "stochastic":
        codes = readings.round(codes, settings)
    elif settings.dac_bits:
        codes = codes.round_()
    if conductances.dtype == torch.bfloat16:
        sums = torch.bmm(codes.bfloat16(), conductances, out_dtype=torch.float32)
    else:
        sums = torch.bmm(codes, conductances)
    sums.mul_(crossbars.gain)
    if readings:
        sums += readings.added(codes, conductances, levels(settings.dac_bits), settings)
    return sums


def _widen(
    value: torch.Tensor, x: torch.Tensor, reach: torch.Tensor, crossbars: Crossbars
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bound management: doubles the range of vectors that clip at the ADC, and converts them again."""
    settings = crossbars.settings
    limit = levels(settings.adc_bits)
    most = min(MOST_DOUBLING, levels(settings.dac_bits) / 4) if settings.dac_bits else MOST_DOUBLING
    factor = 2.0
    while factor <= most:
        clips = (value.round().abs() > limit).any(-1, keepdim=True)
        if not clips.any():
            break
        reach = torch.where(clips, reach * 2, reach)
        value = _product(x, reach, crossbars)
        factor *= 2
    return value, reach


def levels(bits: int) -> float:
    """Largest code of a converter; 1 stands in where there is none."""
    return float(2 ** (bits - 1) - 1) if bits else 1.0
