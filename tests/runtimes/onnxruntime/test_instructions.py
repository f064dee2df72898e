"""Every instruction set that this machine has: equal results, whatever the batch and the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_runs import run_matmul

from hetc.runtimes.reference import Crossbar, analog_matmul

STORES = ("float32", "bfloat16", "int8")
DAC_BITS = (0, 3, 8, 12)
INSTRUCTIONS = ("portable", "avx2", "avxvnni", "avx512", "amx")
# Slices of 77 and 76 rows: no multiple of any step. Columns: one full group of panels, one panel in part.
ROWS, INPUTS, OUTPUTS = 39, 229, 70
# Without programming noise the store's rounding is all that happens to a weight.
ATTRIBUTES = {
    "mode": "noisy",
    "noise_form": "gaussian",
    "noise_sigma": [0.0],
    "tile_rows": 80,
    "adc_bits": 0,
}


def matrices() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    x = random.normal(size=(ROWS, INPUTS)).astype(np.float32)
    return x, random.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)


def compute(target: str) -> None:
    """Write the results of all stores and codes, in one batch and in parts."""
    x, w = matrices()
    results = {}
    for store in STORES:
        for bits in DAC_BITS:
            attributes, config = {**ATTRIBUTES, "dac_bits": bits}, {"hetc.store": store}
            parts = [slice(0, 1), slice(1, 2), slice(2, 9), slice(9, 26), slice(26, ROWS)]
            results[f"{store}-{bits}-whole"] = run_matmul(x, w, attributes, config, threads=2)
            results[f"{store}-{bits}-parts"] = np.concatenate(
                [run_matmul(x[part], w, attributes, config) for part in parts]
            )
    np.savez(target, **results)  # type: ignore[arg-type]


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_instruction_set(instructions: str, tmp_path: Path) -> None:
    target = tmp_path / "results.npz"
    environment = {
        **os.environ,
        "HETC_INSTRUCTIONS": instructions,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    program = f"import test_instructions; test_instructions.compute({str(target)!r})"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=Path(__file__).parent)
    results = np.load(target)
    x, w = matrices()
    for store in STORES:
        for bits in DAC_BITS:
            whole = results[f"{store}-{bits}-whole"]
            np.testing.assert_array_equal(whole, results[f"{store}-{bits}-parts"])
            crossbar = Crossbar(
                **{**ATTRIBUTES, "noise_sigma": (0.0,)},  # type: ignore[arg-type]
                dac_bits=bits,
                store=store,
            )
            expected = analog_matmul(x, w, crossbar, 3, transpose_weight=True)
            np.testing.assert_allclose(whole, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
