"""Mode converters with static ranges against IBM/aihwkit-lightning from PyPI."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hetc.runtimes.reference import Crossbar, convert

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch", reason="aihwkit-lightning needs torch")
nn = pytest.importorskip(
    "aihwkit_lightning.nn", reason="aihwkit-lightning is not installed: pip install aihwkit-lightning==2.1.0"
)


@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize(("tile_rows", "out_bound"), [(512, 10.0), (256, 2.0), (100, 1.0)])
def test_converters_with_static_ranges(tile_rows: int, out_bound: float, per_column: bool) -> None:
    configs = pytest.importorskip("aihwkit_lightning.simulator.configs")
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 600)).astype(np.float32)
    w = random.normal(size=(300, 600)).astype(np.float32)
    config = configs.TorchInferenceRPUConfig()
    config.mapping.max_input_size = tile_rows
    config.forward.inp_res, config.forward.out_res = 254, 254
    config.forward.out_bound = out_bound
    if per_column:
        config.clip.type = configs.WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL
    config.pre_post.input_range.enable = True
    layer = nn.AnalogLinear(600, 300, bias=False, rpu_config=config).eval()
    ranges = random.uniform(1.5, 3, len(layer.in_sizes)).astype(np.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.input_range.copy_(torch.from_numpy(ranges).reshape(layer.input_range.shape))
        peer = layer(torch.from_numpy(x)).numpy()

    starts = np.cumsum([0, *layer.in_sizes])
    scale = np.stack([np.abs(w[:, a:b]).max(axis=1) for a, b in itertools.pairwise(starts)])
    if not per_column:
        scale = scale.max(axis=1, keepdims=True)
    crossbar = Crossbar("converters", tile_rows=tile_rows, out_bound=out_bound)
    conversions = convert(x, w, crossbar, 0, transpose_weight=True, input_range=ranges, weight_scale=scale)
    ours = sum(conversion.code * conversion.step for conversion in conversions)
    step = np.max([conversion.step for conversion in conversions], axis=0)
    # The peer divides where we multiply: codes next to a half step may differ by one.
    assert np.abs(peer - ours).max() <= 1.01 * step.max()
    assert (np.abs(peer - ours) > 1e-3 * step).mean() < 2e-3
