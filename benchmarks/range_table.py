"""Loss of the sample by input range: per vector, and static by several rules, all experts analog.

    python benchmarks/range_table.py

Calibrated on training text, measured on held-out tokens; c = 0 is mode `converters`. Printed as Markdown.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from noise_table import CONTEXT, SAMPLE, loss

import hetc
from hetc.profile import Profile
from hetc.record import load_tokens, record

RULES = ("max", "quantile:0.99995", "quantile:0.999", "std:18", "std:6", "std:3")
TOKENS, SEEDS, SCALE = 8192, range(4), 4


def main() -> None:
    windows = np.load(SAMPLE / "heldout.npz")["tokens"][:TOKENS].reshape(-1, CONTEXT)
    model = SAMPLE / "model.onnx"
    calibration = record(model, load_tokens(SAMPLE / "calibration.npz", CONTEXT), Profile())
    print(f"| range | c = 0 | c = {SCALE}, {len(SEEDS)} seeds |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rule in ("per vector", *RULES):
            static = {} if rule == "per vector" else {"calibration": calibration, "range_rule": rule}
            bundle = hetc.compile(model, Path(folder, rule), digital_frac=0, **static)  # type: ignore[arg-type]
            noisy = [loss(bundle.session(seed=seed, noise_scale=SCALE), windows) for seed in SEEDS]
            clean = loss(bundle.session(mode="converters"), windows)
            print(f"| {rule} | {clean:.4f} | {np.mean(noisy):.4f} +- {np.std(noisy, ddof=1):.4f} |")


if __name__ == "__main__":
    main()
