"""Predicted errors of one matrix against the NumPy reference, with gradients that make errors visible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.passes.analysis.matrix_loss import MatrixLoss, Ranges, matrix_loss
from hetc.passes.analysis.rounding import rounding_error
from hetc.plan.sensitivity import CLIPS, Sensitivity
from hetc.runtimes.reference import analog_matmul, split
from hetc.runtimes.reference.settings import crossbar_of

TOKENS, INPUTS, OUTPUTS, TILE = 400, 60, 24, 32
NONE = NOISE_MODELS["none"]
BARE: dict[str, Any] = {"tile_rows": TILE, "dac_bits": 0, "adc_bits": 0, "noise": NONE}
BOUND = 10.0


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x `[T, K]`, w `[N, K]`, and independent gradients `[T, N]`."""
    random = np.random.default_rng(0)
    x = random.standard_normal((TOKENS, INPUTS)) * random.uniform(0.5, 2, (TOKENS, 1))
    w = random.standard_normal((OUTPUTS, INPUTS))
    g = random.standard_normal((TOKENS, OUTPUTS)) * random.uniform(0.5, 2, OUTPUTS)
    return x.astype(np.float32), w.astype(np.float32), g.astype(np.float32)


X, W, G = data()


def recorded(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> Sensitivity:
    """A sensitivity written out, per token."""
    x2, g2, back = x**2, g**2, (g @ w) ** 2
    parts = split(x.shape[1], TILE)
    r2 = np.stack([x2[:, part].max(1) for part in parts])
    sums = [np.abs(x[:, part] @ w[:, part].T) for part in parts]
    limits = [np.abs(x[:, p]).max(1)[:, None] * np.abs(w[:, p]).max(1) * BOUND for p in parts]
    peaks = np.zeros(x.shape[1])
    for part, r in zip(parts, r2, strict=True):
        ordered = np.sort(x2[:, part], 1)
        lost = g2.sum(1) * (ordered[:, -1] - ordered[:, -2])
        np.add.at(peaks, part.start + x2[:, part].argmax(1), lost / (g2.sum(1) @ r))
    numbers = {
        "rows": g2.sum(1) @ x2,
        "columns": x2.sum(1) @ g2,
        "fisher": g2.sum(0),
        "converted": np.concatenate([r @ back[:, part] for part, r in zip(parts, r2, strict=True)]),
        "inputs": (x2 * back).sum(0),
        "reach": r2 @ g2,
        "signal": np.stack([(g2 * y**2).sum(0) for y in sums]),
        "clipped": np.stack(
            [
                [(g2 * np.maximum(0, y - b * clip) ** 2).sum(0) for y, b in zip(sums, limits, strict=True)]
                for clip in CLIPS
            ]
        ),
    }
    per_token = {name: (value / len(x)).astype(np.float32) for name, value in numbers.items()}
    return Sensitivity(**per_token, peaks=peaks.astype(np.float32))


def predicted(profile: Profile, **given: Any) -> MatrixLoss:
    return matrix_loss(W, recorded(X, W, G), BOUND, crossbar_of(profile, "noisy"), **given)


def measured(profile: Profile, seeds: int = 1, **given: Any) -> np.ndarray:
    """`[N]`: half the mean of the squared errors times the squared gradients."""
    total = np.zeros(OUTPUTS)
    for seed in range(seeds):
        crossbar = crossbar_of(profile, "noisy", seed=seed, read_seed=seed, store="float32")
        errors = analog_matmul(X, W, crossbar, 0, transpose_weight=True, **given) - X @ W.T
        total += (G**2 * errors.astype(np.float64) ** 2).mean(0) / (2 * seeds)
    return total


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "programming": ({"noise": NOISE_MODELS["pcm"]}, 12),
    "loud programming": ({"noise": NOISE_MODELS["pcm"], "noise_scale": 8.0}, 12),
    "gaussian": ({"noise": NOISE_MODELS["gaussian"]}, 12),
    "tile": ({"noise": NOISE_MODELS["gaussian"], "scale_mode": "tile"}, 12),
    "drift": ({"noise": NOISE_MODELS["pcm"], "drift_time": 86400.0}, 12),
    "drift by column": (
        {"noise": NOISE_MODELS["pcm"], "drift_time": 86400.0, "drift_compensation": "column"},
        12,
    ),
    "ADC": ({"adc_bits": 6}, 1),
    "ADC of a few steps": ({"adc_bits": 3}, 1),
    "ADC that clips": ({"adc_bits": 8, "out_bound": 5.0}, 1),
    "DAC": ({"dac_bits": 6}, 1),
    "random DAC": ({"dac_bits": 6, "dac_rounding": "stochastic"}, 3),
    "output noise": ({"output_noise": 0.1}, 3),
    "weight noise": ({"weight_noise": 0.05}, 3),
    "PCM read noise": ({"weight_noise": 0.05, "weight_noise_form": "pcm-read"}, 3),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_err_as_the_reference(case: str) -> None:
    changed, seeds = CASES[case]
    profile = Profile(**{**BARE, **changed})
    found = predicted(profile).outputs
    expected = measured(profile, seeds)
    assert found.sum() == pytest.approx(expected.sum(), rel=0.12)
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def test_static_ranges_scale_the_steps() -> None:
    wide = Profile(**{**BARE, "adc_bits": 8})
    ranges = np.array([9.0, 9.0], np.float32)
    found = predicted(wide, ranges=Ranges(inputs=(9.0, 9.0))).outputs
    assert found.sum() == pytest.approx(measured(wide, input_range=ranges).sum(), rel=0.12)


def test_digital_lines_err_no_more() -> None:
    profile = Profile(**{**BARE, "noise": NOISE_MODELS["gaussian"], "adc_bits": 6})
    random = np.random.default_rng(1)
    digital = {"digital_inputs": random.random(INPUTS) < 0.4, "digital_outputs": random.random(OUTPUTS) < 0.3}
    found = predicted(profile, **digital).outputs
    expected = measured(profile, 8, **digital)
    assert not found[digital["digital_outputs"]].any()
    assert found.sum() == pytest.approx(expected.sum(), rel=0.15)


def test_inputs_are_what_becomes_of_the_loss_without_them() -> None:
    profile = Profile(**{**BARE, "noise": NOISE_MODELS["pcm"], "noise_scale": 4.0, "adc_bits": 6})
    w = W.copy()
    w[:, 7] *= 6  # an outlier that sets the scale of its columns
    seen, crossbar = recorded(X, w, G), crossbar_of(profile, "noisy")
    whole = matrix_loss(w, seen, BOUND, crossbar, of_inputs=True)
    for one in (7, 40):
        without = np.arange(INPUTS) == one
        left = matrix_loss(w, seen, BOUND, crossbar, digital_inputs=without)
        saved = whole.outputs.sum() - left.outputs.sum()
        assert whole.inputs[one] == pytest.approx(saved, rel=0.25, abs=0.01 * whole.outputs.sum())
    assert whole.inputs.argmax() == 7


@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.15, 0.3, 0.5, 1.0, 4.0])
def test_rounding_of_a_normal(deviation: float) -> None:
    values = deviation * np.random.default_rng(0).standard_normal(200_000)
    expected = ((np.rint(values) - values) ** 2).mean()
    assert rounding_error(np.array([deviation]))[0] == pytest.approx(expected, rel=0.02)
