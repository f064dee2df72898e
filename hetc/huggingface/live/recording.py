"""Adds up what products show: sensitivities for any device, and expected losses for one noise.

Only vectors are kept. A product's weight gradients are looked at a block of outputs at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.hardware.profile import Profile
from hetc.plan.sensitivity import CLIPS, Sensitivities, Sensitivity, matrix_key
from hetc.runtimes.reference.layout import split
from hetc.runtimes.reference.moments import Moments, moments
from hetc.runtimes.reference.programming import TINY, weight_scale
from hetc.runtimes.reference.settings import Crossbar, crossbar_of

__all__ = ["Recording"]

BLOCK = 1 << 22
"""Numbers that an array may hold at once: weight gradients, or what tokens give."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Matrix:
    """One matrix of S K-slices.

    Attributes:
        largest: `[S, N]`, the largest weight of each output in each slice.
        scale: `[S, N]`, the weight that maps to g_max.
        sums: What its tokens have added so far, float64.
    """

    largest: torch.Tensor
    scale: torch.Tensor
    sums: dict[str, torch.Tensor]


class Recording:
    """What all products of a text add up to.

    Attributes:
        profile: Its tile and ADC bound are those of the sensitivities, its noise that of the expected losses.
    """

    def __init__(self, profile: Profile, products: Iterable[tuple[str, str, torch.Tensor]]) -> None:
        """Begins with nothing for each product, so that units that no token passes are known to cost nothing.

        Args:
            profile: See above.
            products: Unit id, projection and weight `[N, K]` of each product that may be watched.

        Raises:
            InvalidInputError: A weight is not finite.
        """
        self.profile = profile
        self._crossbar = crossbar_of(profile, "noisy")
        self._matrices = {
            (unit, projection): self._begin(unit, projection, weight) for unit, projection, weight in products
        }

    def watch(
        self,
        unit: str,
        projection: str,
        weight: torch.Tensor,
        x: torch.Tensor,
        gradient: torch.Tensor,
        counts: Sequence[int],
    ) -> None:
        """Adds one product's tokens of some windows; see `hetc.huggingface.live.products.Watch`."""
        matrix = self._matrices[unit, projection]
        weight, x = weight.float(), x.float()
        # Inputs that are all 0 make no errors, but norms of zeros make their gradients as large as 1e20.
        gradient = gradient.float().where((x != 0).any(1, keepdim=True), 0)
        step = max(1, BLOCK // max(weight.shape))
        for tokens in zip(torch.split(x, step), torch.split(gradient, step), strict=True):
            self._add_tokens(matrix, weight, *tokens)
        windows = zip(torch.split(x, [*counts]), torch.split(gradient, [*counts]), strict=True)
        self._add_losses(matrix, weight, [one for one in windows if len(one[0])])

    def _begin(self, unit: str, projection: str, weight: torch.Tensor) -> _Matrix:
        """What depends on the weights alone, and zeros."""
        weight = weight.float()
        if not weight.abs().max().isfinite():
            raise InvalidInputError(f"{projection} of {unit} holds NaN or infinity and can't be scored")
        outputs, inputs = weight.shape
        parts = self._slices(inputs)
        shapes = {
            **dict.fromkeys(("rows", "inputs", "converted", "peaks", "loss_inputs"), (inputs,)),
            **dict.fromkeys(("columns", "fisher", "loss_outputs"), (outputs,)),
            **dict.fromkeys(("reach", "signal"), (len(parts), outputs)),
            "clipped": (len(CLIPS), len(parts), outputs),
        }
        return _Matrix(
            torch.stack([weight[:, part].abs().amax(1) for part in parts]),
            torch.stack([weight_scale(weight[:, part].T, self._crossbar) for part in parts]),
            {name: weight.new_zeros(shape, dtype=torch.float64) for name, shape in shapes.items()},
        )

    def _slices(self, inputs: int) -> list[slice]:
        return split(inputs, self.profile.tile_rows)

    def _add_tokens(
        self, matrix: _Matrix, weight: torch.Tensor, x: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        """Adds what is a sum over tokens."""
        sums = matrix.sums
        x2, g2, size = x.square(), gradient.square(), gradient.abs()
        g2_sum = g2.sum(1)
        back = (gradient @ weight).square_()
        sums["rows"] += g2_sum @ x2
        sums["columns"] += x2.sum(1) @ g2
        sums["fisher"] += g2.sum(0)
        sums["inputs"] += x2.mul_(back).sum(0)
        for index, part in enumerate(self._slices(weight.shape[1])):
            largest, holder, second = _two_largest(x[:, part])
            r2 = largest.square()
            sums["reach"][index] += r2 @ g2
            sums["converted"][part] += r2 @ back[:, part]
            sums["peaks"][part].index_add_(0, holder, (g2_sum * (r2 - second.square())).double())
            y = (x[:, part] @ weight[:, part].T).abs_().mul_(size)
            sums["signal"][index] += y.square().sum(0)
            bound = (self.profile.out_bound * largest[:, None] * matrix.largest[index]).mul_(size)
            for place, one in enumerate(CLIPS):
                excess = torch.sub(y, bound, alpha=one).clamp_min_(0)
                sums["clipped"][place, index] += excess.square_().sum(0)

    def _add_losses(
        self, matrix: _Matrix, weight: torch.Tensor, windows: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        """Adds squared gradients of the weights, each window's by itself, times their mean squared errors."""
        table = _table(self._crossbar, weight.device)
        step = max(1, BLOCK // weight.shape[1])
        for start in range(0, len(weight), step):
            block = slice(start, start + step)
            loss = torch.zeros_like(weight[block])
            for x, gradient in windows:
                by_weight = gradient[:, block].T @ x
                loss.addcmul_(by_weight, by_weight)
            for part, scales in zip(self._slices(weight.shape[1]), matrix.scale, strict=True):
                scale = scales[block, None].clamp_min(TINY)
                loss[:, part] *= table[Moments.cells(weight[block, part], scale)].mul_(scale.square())
            matrix.sums["loss_outputs"][block] += loss.sum(1)
            matrix.sums["loss_inputs"] += loss.sum(0)

    def sensitivities(self, tokens: int) -> Sensitivities:
        """Those of all matrices, per token of the text."""
        found = Sensitivities(self.profile.tile_rows, self.profile.out_bound)
        for (unit, projection), matrix in self._matrices.items():
            numbers = {name: value.cpu().numpy() / tokens for name, value in matrix.sums.items()}
            totals = numbers["reach"].sum(1)
            parts = split(len(numbers["peaks"]), self.profile.tile_rows)
            for part, total in zip(parts, totals, strict=True):
                numbers["peaks"][part] *= 1 / total if total > 0 else 0
            named = {name: numbers[name].astype(np.float32) for name in Sensitivity.__dataclass_fields__}
            found.matrices[matrix_key(unit, projection)] = Sensitivity(**named)
        return found

    def losses(self, tokens: int) -> dict[str, dict[str, tuple[Float64, Float64]]]:
        """Programming noise in nats per token: by unit and projection `[N]` by outputs, `[K]` by inputs."""
        found: dict[str, dict[str, tuple[Float64, Float64]]] = {}
        for (unit, projection), matrix in self._matrices.items():
            outputs, inputs = (
                matrix.sums[f"loss_{side}"].cpu().numpy() / (2 * tokens) for side in ("outputs", "inputs")
            )
            found.setdefault(unit, {})[projection] = outputs, inputs
        return found


@cache
def _table(crossbar: Crossbar, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(moments(crossbar).square()).to(device)


def _two_largest(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The largest magnitude of each row, where it is, and the next: `[T]` each."""
    found = torch.nn.functional.pad(x.abs(), (0, 1)).topk(2, 1)
    return found.values[:, 0], found.indices[:, 0].clamp_max(x.shape[1] - 1), found.values[:, 1]
