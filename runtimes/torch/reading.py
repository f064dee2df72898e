"""What single products add on crossbars in torch: noise and IR drop, and the DAC that rounds at random.

The formulas and draws are the reference's, slice by slice and matrix by matrix. That is slow beside a product
without noise, and as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hetc.runtimes.reference.reading import disturb, round_randomly
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["Readings"]


@dataclass(frozen=True)
class Readings:
    """Crossbars whose products draw noise. K inputs in S slices of at most R rows, N outputs.

    Attributes:
        rows: For each slice, the numbers of its inputs in the whole matrix.
        columns: Of each matrix side by side, which of the N are its outputs.
        streams: Of each matrix. The last is the stream of the DAC that all of them share.
        worth: `[S, 1, N]` float32, a conductance of 1 in units of the weights.
        scale: `[S, 1, N]` float32, the weight scale; 0 for outputs that are digital.
        to_steps: `[S, 1, N]` float32, from sums of DAC codes x weights to the ADC's steps.
    """

    rows: Sequence[torch.Tensor]
    columns: Sequence[slice]
    streams: Sequence[int]
    worth: torch.Tensor
    scale: torch.Tensor
    to_steps: torch.Tensor

    def round(self, codes: torch.Tensor, settings: Crossbar) -> torch.Tensor:
        """DAC codes `[S, M, R]` before rounding, to the next level up or down."""
        rounded = torch.zeros_like(codes)
        for index, rows in enumerate(self.rows):
            if len(rows):
                part = codes[index, :, : len(rows)]
                rounded[index, :, : len(rows)] = round_randomly(part, rows, settings, self.streams[-1])
        return rounded

    def added(
        self, codes: torch.Tensor, conductances: torch.Tensor, levels: float, settings: Crossbar
    ) -> torch.Tensor:
        """What noise and IR drop add, in steps of the ADC.

        Args:
            codes: `[S, M, R]` from the DAC.
            conductances: `[S, R, N]`.
            levels: The DAC's largest code.
            settings: The noise.

        Returns:
            `[S, M, N]` float32.
        """
        slices, vectors, _ = codes.shape
        found = codes.new_zeros(slices, vectors, conductances.shape[-1])
        for index, rows in enumerate(self.rows):
            q = codes[index, :, : len(rows)]
            for columns, stream in zip(self.columns, self.streams, strict=True) if len(rows) else ():
                held = conductances[index, : len(rows), columns].float()
                numbers = rows, torch.arange(held.shape[1], device=rows.device)
                change = disturb(
                    torch.zeros(vectors, held.shape[1], dtype=torch.float64, device=rows.device),
                    q,
                    held * self.worth[index, :, columns],
                    self.scale[index, 0, columns],
                    numbers,
                    levels,
                    settings,
                    stream,
                )
                found[index, :, columns] = change * self.to_steps[index, :, columns]
        return found
