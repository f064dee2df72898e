"""Mode converters with static ranges against IBM/aihwkit-lightning from PyPI."""

from __future__ import annotations

import numpy as np
import pytest
from lightning import INSTALL, static_layer

from hetc.runtimes.reference import Crossbar, convert, split

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch", reason="aihwkit-lightning needs torch")
pytest.importorskip("aihwkit_lightning.nn", reason=INSTALL)


@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize(("tile_rows", "out_bound"), [(512, 10.0), (256, 2.0), (100, 1.0)])
def test_converters_with_static_ranges(tile_rows: int, out_bound: float, per_column: bool) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 600)).astype(np.float32)
    w = random.normal(size=(300, 600)).astype(np.float32)
    slices = split(600, tile_rows)
    ranges = random.uniform(1.5, 3, len(slices)).astype(np.float32)
    layer = static_layer(w, ranges, tile_rows=tile_rows, out_bound=out_bound, per_column=per_column)
    assert layer.in_sizes == [part.stop - part.start for part in slices]
    with torch.no_grad():
        peer = layer(torch.from_numpy(x)).numpy()

    scale = np.stack([np.abs(w[:, part]).max(axis=1) for part in slices])
    if not per_column:
        scale = scale.max(axis=1, keepdims=True)
    crossbar = Crossbar("converters", tile_rows=tile_rows, out_bound=out_bound)
    conversions = convert(x, w, crossbar, 0, transpose_weight=True, input_range=ranges, weight_scale=scale)
    ours = sum(conversion.code * conversion.step for conversion in conversions)
    step = np.max([conversion.step for conversion in conversions], axis=0)
    # The peer divides where we multiply: codes next to a half step may differ by one.
    assert np.abs(peer - ours).max() <= 1.01 * step.max()
    assert (np.abs(peer - ours) > 1e-3 * step).mean() < 2e-3
