"""The programming kernel against the NumPy reference; without a GPU in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from equality import assert_programmed_equal

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.hardware.noise_models import NOISE_MODELS  # noqa: E402
from hetc.hardware.profile import Profile  # noqa: E402
from hetc.runtimes.reference import Crossbar, program, split  # noqa: E402
from hetc.runtimes.reference.settings import crossbar_of  # noqa: E402
from hetc.runtimes.torch.crossbar import levels  # noqa: E402
from hetc.runtimes.torch.kernels.stack import Part, Stack, program_stack, programmed_bytes  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROFILE = Profile(tile_rows=50, tile_columns=20)
DAY = 86400.0


def stacked(w: np.ndarray, streams: list[int], crossbar: Crossbar) -> Stack:
    """`w [G, N, K]` on crossbars."""
    part = Part(torch.from_numpy(w).to(DEVICE), slice(0, w.shape[1]), streams)
    nothing = [None] * len(w)
    return program_stack([part], crossbar).stack(nothing, nothing)


def weights_of(stack: Stack, crossbar: Crossbar) -> np.ndarray:
    """`[G, K, N]`: what the stack holds in units of the clean weights, without an ADC or compensation."""
    slices = split(stack.inputs, crossbar.tile_rows)
    held = stack.conductances.float().unflatten(2, (len(slices), -1)).permute(0, 1, 2, 3)
    worth = (stack.gain * stack.step * levels(crossbar.dac_bits)).transpose(1, 2)[..., None]
    parts = [(held * worth)[:, :, index, : part.stop - part.start] for index, part in enumerate(slices)]
    assert not any(held[:, :, i, p.stop - p.start :].any() for i, p in enumerate(slices))
    return torch.cat(parts, -1).mT.cpu().numpy()


def models_and_stores() -> Iterator[Any]:
    """Every device model with every store; without `slow` marks pcm with all, and the others with one."""
    for name in sorted(set(NOISE_MODELS) - {"none"}):
        for store in ("float32", "bfloat16", "int8"):
            fast = name == "pcm" or store == "float32"
            yield pytest.param(name, store, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize(("name", "store"), models_and_stores())
def test_programmed_weights_are_the_references(name: str, store: str) -> None:
    model = NOISE_MODELS[name]
    changes: dict[str, Any] = {}
    if model.drift_mean:
        changes = {"drift_time": DAY, "drift_compensation": "none", "flicker_noise": 1.0}
    elif model.times:
        changes = {"drift_time": model.times[-1]}
    profile = replace(PROFILE, noise=model, noise_scale=1.5, adc_bits=0, **changes)
    crossbar = crossbar_of(profile, "noisy", store=store, seed=2**40 + 3, read_seed=2**31 - 1)
    w = np.random.default_rng(0).standard_normal((2, 40, 90)).astype(np.float32)
    w[1, 3] = 0
    streams = [9, 2**31 - 1]
    actual = weights_of(stacked(w, streams, crossbar), crossbar)
    for one, matrix, stream in zip(actual, w, streams, strict=True):
        expected = program(matrix, crossbar, stream, transpose_weight=True)
        assert_programmed_equal(one, expected, store, rows=split(90, 50))


@pytest.mark.parametrize("compensation", ["column", "global"])
@pytest.mark.parametrize("scale_mode", ["column", "tile"])
def test_scales_and_drift_compensation_are_the_references(scale_mode: str, compensation: str) -> None:
    profile = replace(
        PROFILE, adc_bits=0, drift_time=DAY, drift_compensation=compensation, scale_mode=scale_mode
    )
    crossbar = crossbar_of(profile, "noisy", store="float32")
    w = np.random.default_rng(0).standard_normal((1, 70, 130)).astype(np.float32)
    stack = stacked(w, [5], crossbar)
    from hetc.runtimes.reference.programming import program_slices

    for index, one in enumerate(program_slices(np.ascontiguousarray(w[0].T), crossbar, 5)):
        np.testing.assert_allclose(stack.gain[0, index].cpu(), one.scale, rtol=1e-6)
        factor = stack.step[0, index].cpu().numpy() * levels(crossbar.dac_bits)
        np.testing.assert_allclose(factor, one.compensation, rtol=1e-5)


def test_columns_may_lie_apart() -> None:
    """Gate and up that take turns, and weights stored inputs first."""
    crossbar = crossbar_of(PROFILE, "noisy", store="float32")
    w = torch.randn(2, 60, 8, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    turned = w.mT
    parts = [Part(turned[:, part::2], slice(part, None, 2), [part, part + 2]) for part in (0, 1)]
    together = program_stack(parts, crossbar)
    for part in parts:
        alone = program_stack([Part(part.weights.contiguous(), slice(0, 4), part.streams)], crossbar)
        torch.testing.assert_close(together.conductances[:, part.columns], alone.conductances, rtol=0, atol=0)
        torch.testing.assert_close(together.scale[..., part.columns], alone.scale, rtol=0, atol=0)


def test_weights_that_are_not_finite_are_refused() -> None:
    w = np.ones((2, 3, 5), np.float32)
    w[1, 2, 2] = np.nan
    with pytest.raises(InvalidInputError, match="stream 4 hold NaN"):
        stacked(w, [3, 4], crossbar_of(PROFILE, "noisy"))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("choices", [{"store": "bfloat16"}, {"store": "int8"}, {"mode": "converters"}])
def test_bytes_are_known_before(choices: dict[str, Any], kind: Any) -> None:
    crossbar = crossbar_of(PROFILE, **{"mode": "noisy", **choices})
    part = Part(torch.ones(2, 7, 120, dtype=kind, device=DEVICE), slice(0, 7), [1, 2])
    assert program_stack([part], crossbar).bytes == 2 * programmed_bytes(120, 7, crossbar, kind)
