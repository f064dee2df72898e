"""Loss of the sample by input range and by ADC bound, each by several rules, all experts analog.

    python benchmarks/range_table.py

Calibrated on training text, measured on held-out tokens; c = 0 is mode `converters`. The bounds are tried
with the ranges that compile chooses by itself. Printed as Markdown.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from noise_table import CONTEXT, SAMPLE, loss

import hetc
from hetc.compiler.recording import calibrate

RULES = ("max", "quantile:0.99995", "quantile:0.999", "std:18", "std:6", "std:3")
BOUNDS = ("scale:3", "scale:6", "scale:10", "scale:14", "std:4", "std:6", "std:8", "std:12", "std:18")
TOKENS, SEEDS, SCALE = 8192, range(4), 4


def main() -> None:
    windows = np.load(SAMPLE / "heldout.npz")["tokens"][:TOKENS].reshape(-1, CONTEXT)
    model = SAMPLE / "model.onnx"
    calibration = calibrate(model, SAMPLE / "calibration.npz", window=CONTEXT)

    def print_row(rule: str, **static: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bundle = hetc.compile(model, Path(folder, "bundle"), digital_frac=0, **static)
            noisy = [loss(bundle.session(seed=seed, noise_scale=SCALE), windows) for seed in SEEDS]
            clean = loss(bundle.session(mode="converters"), windows)
        print(f"| {rule} | {clean:.4f} | {np.mean(noisy):.4f} +- {np.std(noisy, ddof=1):.4f} |", flush=True)

    columns = f"c = 0 | c = {SCALE}, {len(SEEDS)} seeds |\n|---|---|---|"
    print(f"| range | {columns}")
    print_row("per vector")
    for rule in RULES:
        print_row(rule, calibration=calibration, range_rule=rule)
    print(f"\n| ADC bound | {columns}")
    for rule in BOUNDS:
        print_row(rule, calibration=calibration, adc_bound_rule=rule)


if __name__ == "__main__":
    main()
