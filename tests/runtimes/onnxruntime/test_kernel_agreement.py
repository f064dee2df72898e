"""Random kernels of every device, disturbance, converter and size agree with the NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from digital_neurons import assert_neurons_equal, rank_neurons
from kernel_runs import NOISY, crossbar, device, run_matmul

from hetc.hardware.noise_models import NOISE_MODELS

DEVICES = [name for name in NOISE_MODELS if name != "none"]
FLOAT32 = {"hetc.store": "float32"}


def attributes_of(random: np.random.Generator) -> dict[str, Any]:
    """A node's attributes; each of what disturbs is there now and then."""

    def sometimes(**values: Any) -> dict[str, Any]:
        return values if random.random() < 0.4 else {}

    found = {**NOISY, **(device(str(random.choice(DEVICES))) if random.random() < 0.5 else {})}
    found |= {
        "mode": str(random.choice(["noisy", "noisy", "converters"])),
        "tile_rows": int(random.integers(1, 310)),
        "tile_columns": int(random.integers(1, 90)),
        "dac_bits": int(random.choice([0, 4, 8, 12])),
        "adc_bits": int(random.choice([0, 4, 8, 12])),
        "out_bound": float(random.choice([0.5, 1, 10])),
        "noise_scale": float(random.choice([0, 0.5, 1, 3])),
        "seed": int(random.integers(0, 2**62)),
    }
    found |= sometimes(output_noise=float(random.uniform(0, 0.1)))
    form = str(random.choice(["additive", "pcm-read"]))
    found |= sometimes(weight_noise=float(random.uniform(0, 0.1)), weight_noise_form=form)
    found |= sometimes(ir_drop=float(random.uniform(0, 2)))
    found |= sometimes(dac_rounding="stochastic") | sometimes(bound_management="iterative")
    found |= sometimes(scale_mode="tile") | sometimes(noise_form="none")
    if found["noise_form"] == "differential-pair" and found.get("drift_mean"):
        how = str(random.choice(["none", "global", "column"]))
        found |= sometimes(drift_time=float(10 ** random.uniform(-2, 9)), drift_compensation=how)
        found |= sometimes(flicker_noise=float(random.uniform(0, 2)))
    return found


def check_case(seed: int) -> None:
    random = np.random.default_rng(seed)
    depth = int(random.choice([3, 300]))  # few rows: noise may leave nothing of a column
    rows, inputs, outputs = (int(random.integers(1, most)) for most in (20, depth, 100))
    size = float(random.choice([1.0, 1.0, 1e-28, 1e-22, 1e25]))
    x_size = float(random.choice([1.0, 1e-3, 1e3])) if size < 1e25 else 1e-3
    w = (random.normal(size=(outputs, inputs)) * size).astype(np.float32)
    x = (random.normal(size=(rows, inputs)) * x_size).astype(np.float32)
    w[random.random(w.shape) < random.choice([0, 0.7])] = 0
    attributes = attributes_of(random)
    slices = -(-inputs // attributes["tile_rows"])
    columns = int(random.choice([1, outputs]))
    shapes = {
        "input_range": (x_size, (slices,)),
        "adc_bound": (5 * size, (slices, columns)),
        "weight_scale": (size, (slices, columns)),
    }
    given = {
        name: (scale * random.uniform(0.2, 4, shape)).astype(np.float32)
        for name, (scale, shape) in shapes.items()
        if random.random() < 0.3
    }
    shares = random.choice([0, 0, 0.1, 0.6, 1], 2)
    inputs_digital, outputs_digital = random.random(inputs) < shares[0], random.random(outputs) < shares[1]
    if inputs_digital.all() and outputs_digital.all():
        inputs_digital[0] = False
    ranks, group = rank_neurons(input_rank=inputs_digital, output_rank=outputs_digital)
    y = run_matmul(x, w, {**attributes, **group}, FLOAT32, **ranks, **given)
    reference = crossbar(attributes, "float32")
    assert_neurons_equal(y, x, w, reference, inputs_digital, outputs_digital, **given)


@pytest.mark.parametrize("seed", range(150))
def test_random_kernels(seed: int) -> None:
    check_case(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_random_kernels(part: int) -> None:
    for seed in range(1000 * (part + 1), 1000 * (part + 1) + 600):
        check_case(seed)


@pytest.mark.parametrize("size", [1e-28, 1e-22, 1e25])
@pytest.mark.parametrize("form", ["additive", "pcm-read"])
def test_noise_of_a_product_is_as_large_as_its_weights(form: str, size: float) -> None:
    """Multiplied by a power of two, weights meet the very same noise, multiplied alike."""
    random = np.random.default_rng(0)
    x, w = (random.normal(size=shape).astype(np.float32) for shape in ((4, 60), (30, 60)))
    attributes = {**NOISY, "weight_noise": 0.05, "weight_noise_form": form, "dac_bits": 0, "adc_bits": 0}
    factor = np.float32(2.0 ** np.round(np.log2(size)))
    plain = run_matmul(x, w, attributes, FLOAT32)
    scaled = run_matmul(x, w * factor, attributes, FLOAT32)
    np.testing.assert_allclose(scaled / factor, plain, rtol=1e-5, atol=1e-5)
    quiet = run_matmul(x, w, {**attributes, "weight_noise": 0.0}, FLOAT32)
    assert np.abs(plain - quiet).mean() > 0.01
