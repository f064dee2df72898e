"""Digital neurons beside the crossbars of the kernels: which they are, and their weights on their own.

A placement's digital neurons are copied out of the model's weights once, each expert's next to each other,
so that they are products like those of whole digital experts, in the model's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.targets import digital_lines
from hetc.plan.units import Matrix
from hetc.runtimes.torch.kernels.products import Weights

__all__ = ["DigitalNeurons", "Mask", "digital_mask", "take_neurons"]

BLOCK = 64
"""Neurons of an expert end at a multiple of it: what one step of a product takes."""

Mask = NDArray[np.bool_]


def digital_mask(plan: Plan, unit: PlannedUnit, matrix: Matrix) -> tuple[Mask | None, Mask | None]:
    """Inputs `[K]` and outputs `[N]` of a matrix that are digital, None for none."""
    lines = digital_lines(plan, unit, matrix)
    inputs, outputs = (lines.get(f"digital_{axis}") for axis in ("inputs", "outputs"))
    return (
        inputs if inputs is not None and inputs.any() else None,
        outputs if outputs is not None and outputs.any() else None,
    )


@dataclass(frozen=True)
class DigitalNeurons:
    """The digital neurons of a layer's analog experts, D of each.

    Attributes:
        first: `[G, D, H]` without a gate, else `[G, 2 D, H]` as the module's own gate and up lie: weights of
            the projections to the neurons, with their biases.
        second: `[G, H, D]`: weights of the projection down; 0 behind the neurons that an expert has.
    """

    first: Weights
    second: Weights


def take_neurons(
    masks: NDArray[np.bool_],
    experts: Sequence[int],
    first: Sequence[tuple[int, torch.Tensor, torch.Tensor | None]],
    down: torch.Tensor,
    *,
    alternate: bool,
) -> DigitalNeurons:
    """Copies the digital neurons of experts.

    Args:
        masks: `[G, I]`, the digital neurons of each.
        experts: `[G]`, their numbers.
        first: Of each stacked parameter before the neurons: how many projections it holds, its weights
            `[E, N, H]` and biases `[E, N]`.
        down: `[E, H, I]`.
        alternate: Whether gate and up take turns along N; else one follows the other.
    """
    device, neurons = down.device, masks.shape[1]
    counts = masks.sum(1)
    most = -(-int(counts.max()) // BLOCK) * BLOCK
    taken = np.argsort(~masks, axis=1, kind="stable")
    taken = np.pad(taken, ((0, 0), (0, max(0, most - neurons))))[:, :most]
    index = torch.from_numpy(taken).to(device)
    member = torch.tensor(experts, device=device)[:, None]
    weights, biases = [], []
    for projections, values, bias in first:
        rows = index
        if projections == 2:
            rows = (
                torch.stack([2 * index, 2 * index + 1], -1).flatten(1)
                if alternate
                else torch.cat([index, index + neurons], -1)
            )
        weights.append(values.detach()[member, rows])
        if bias is not None:
            biases.append(bias.detach()[member, rows])
    live = torch.arange(most, device=device) < torch.from_numpy(counts).to(device)[:, None]
    columns = down.detach().mT[member, index] * live[..., None]
    return DigitalNeurons(
        Weights(torch.cat(weights, 1), bias=torch.cat(biases, -1) if biases else None),
        Weights(columns.mT.contiguous()),
    )
