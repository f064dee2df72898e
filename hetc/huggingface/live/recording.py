"""Adds up what products show: sensitivities for any device, and expected losses for one noise.

Only vectors are kept. A product's weight gradient is looked at a block of outputs at a time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from hetc.hardware.profile import Profile
from hetc.plan.sensitivity import CLIPS, Sensitivities, Sensitivity, matrix_key
from hetc.runtimes.reference.layout import split
from hetc.runtimes.reference.moments import Moments, moments
from hetc.runtimes.reference.programming import TINY, weight_scale
from hetc.runtimes.reference.settings import Crossbar, crossbar_of

__all__ = ["Recording"]

BLOCK = 1 << 22
"""Weights whose gradients are held at once."""

Float64 = NDArray[np.float64]
Sums = dict[str, torch.Tensor]


class Recording:
    """What all products of a text add up to.

    Attributes:
        profile: Its tile and ADC bound are those of the sensitivities, its noise that of the expected losses.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._crossbar = crossbar_of(profile, "noisy")
        self._sums: dict[tuple[str, str], Sums] = {}

    def watch(
        self, unit: str, projection: str, weight: torch.Tensor, x: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        """Adds one product's tokens of one window; see `hetc.huggingface.live.products.Watch`."""
        weight, x = weight.float(), x.float()
        # Inputs that are all 0 make no errors, but norms of zeros make their gradients as large as 1e20.
        gradient = gradient.float().where((x != 0).any(1, keepdim=True), 0)
        sums = self._sums.setdefault((unit, projection), {})

        def add(name: str, value: torch.Tensor) -> None:
            sums[name] = sums[name] + value.double() if name in sums else value.double()

        x2, g2 = x.square(), gradient.square()
        add("rows", g2.sum(1) @ x2)
        add("columns", x2.sum(1) @ g2)
        add("fisher", g2.sum(0))
        back = (gradient @ weight).square_()
        add("inputs", (x2 * back).sum(0))
        reach, signal, clipped, converted, peaks = [], [], [], [], []
        for part in split(weight.shape[1], self.profile.tile_rows):
            largest, holder, second = _two_largest(x[:, part])
            r2 = largest.square()
            reach.append(r2 @ g2)
            converted.append(r2 @ back[:, part])
            lost = g2.sum(1) * (r2 - second.square())
            peaks.append(x2.new_zeros(part.stop - part.start).index_add_(0, holder, lost))
            y = (x[:, part] @ weight[:, part].T).abs_()
            signal.append((g2 * y.square()).sum(0))
            bound = self.profile.out_bound * largest[:, None] * weight[:, part].abs().amax(1)
            clipped.append(
                torch.stack([(g2 * (y - bound * one).clamp_min_(0).square_()).sum(0) for one in CLIPS])
            )
        add("reach", torch.stack(reach))
        add("signal", torch.stack(signal))
        add("clipped", torch.stack(clipped, 1))
        add("converted", torch.cat(converted))
        add("peaks", torch.cat(peaks))
        by_output, by_input = self._losses(weight, x, gradient)
        add("loss_outputs", by_output)
        add("loss_inputs", by_input)

    def _losses(
        self, weight: torch.Tensor, x: torch.Tensor, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`[N]` and `[K]`: squared gradients of the weights times their mean squared errors."""
        by_output, by_input = torch.zeros_like(weight[:, 0]), torch.zeros_like(weight[0])
        if not len(x):
            return by_output, by_input
        parts = split(weight.shape[1], self.profile.tile_rows)
        scales = [weight_scale(weight[:, part].T, self._crossbar) for part in parts]
        table = _table(self._crossbar, weight.device)
        step = max(1, BLOCK // weight.shape[1])
        for start in range(0, len(weight), step):
            block = slice(start, start + step)
            for part, scale in zip(parts, scales, strict=True):
                loss = (gradient[:, block].T @ x[:, part]).square_()
                loss *= table[Moments.cells(weight[block, part], scale[block, None].clamp_min(TINY))]
                loss *= scale[block, None].square()
                by_output[block] += loss.sum(1)
                by_input[part] += loss.sum(0)
        return by_output, by_input

    def sensitivities(self, tokens: int) -> Sensitivities:
        """Those of all matrices, per token of the text."""
        found = Sensitivities(self.profile.tile_rows, self.profile.out_bound)
        for (unit, projection), sums in self._sums.items():
            numbers = {name: value.cpu().numpy() / tokens for name, value in sums.items()}
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
        for (unit, projection), sums in self._sums.items():
            outputs, inputs = (
                sums[f"loss_{side}"].cpu().numpy() / (2 * tokens) for side in ("outputs", "inputs")
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
