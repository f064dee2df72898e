"""A layer of IBM/aihwkit-lightning that computes mode `converters` with static ranges.

It is no dependency of hetc: `INSTALL` says how to get it beside the torch that is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INSTALL", "static_layer"]

INSTALL = (
    "aihwkit-lightning is not installed: pip install --no-deps aihwkit-lightning==2.1.0 (or with --target "
    "FOLDER, and FOLDER on PYTHONPATH); it needs torch and tqdm"
)


def static_layer(
    w: NDArray[np.float32],
    input_range: float | NDArray[np.float32],
    *,
    tile_rows: int = 512,
    out_bound: float = 10.0,
    per_column: bool = True,
) -> Any:
    """An `AnalogLinear` in evaluation mode: 8-bit DAC and ADC, scales per column or per slice.

    Args:
        w: `[N, K]`.
        input_range: One for all K-slices, or `[S]`.
        tile_rows: Largest K-slice; both sides split evenly.
        out_bound: lambda, the ADC's bound over range times weight scale.
        per_column: Whether the scale is that of the column, not of the whole slice.

    Raises:
        ImportError: The package or torch is missing.
    """
    import torch
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig, WeightClipType

    config = TorchInferenceRPUConfig()
    config.mapping.max_input_size = tile_rows
    config.forward.inp_res, config.forward.out_res = 254, 254
    config.forward.out_bound = out_bound
    if per_column:
        config.clip.type = WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL
    config.pre_post.input_range.enable = True
    layer = AnalogLinear(w.shape[1], w.shape[0], bias=False, rpu_config=config).eval()
    ranges = torch.as_tensor(np.broadcast_to(input_range, len(layer.in_sizes)).copy())
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.input_range.copy_(ranges.reshape(layer.input_range.shape))
    return layer
