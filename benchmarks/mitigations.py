"""What mitigations without retraining give: `hetc mitigate` and drift compensation, as Markdown.

    python benchmarks/mitigations.py samples/tiny_moe samples/tiny_deepseek

Loss over 4,096 held-out tokens, mean +- standard deviation over programming seeds. Channels are recorded on
the sample's calibration tokens. Differences are taken seed by seed.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.compiler.loading import load_moe_model
from hetc.compiler.mitigation import mitigate
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import load_profile
from hetc.model.tokens import token_windows
from hetc.passes.analysis.find_units import find_units
from hetc.plan.units import DENSE

MITIGATIONS: dict[str, dict[str, Any]] = {
    "smooth 0.25": {"smooth": 0.25},
    "smooth 0.5": {"smooth": 0.5},
    "smooth 0.75": {"smooth": 0.75},
    "replace 1": {"replace": 1},
    "replace 2": {"replace": 2},
    "replace 4": {"replace": 4},
}
SCALES = (0.0, 1.0, 8.0)
DRIFTS = {"an hour": 3600.0, "a day": 86400.0, "a year": 31536000.0}


def losses(bundle: Bundle, windows: np.ndarray, seeds: int, **choices: float) -> np.ndarray:
    """One loss for each seed."""
    count = 1 if choices.get("noise_scale") == 0 else seeds
    return np.array(
        [mean_loss(session_forward(bundle.session(seed=seed, **choices)), windows) for seed in range(count)]
    )


def cell(values: np.ndarray, plain: np.ndarray | None = None) -> str:
    """Mean +- deviation, and the mean difference to `plain`."""
    text = f"{values.mean():.4f} +- {values.std(ddof=1) if len(values) > 1 else 0:.4f}"
    return text if plain is None else f"{text} ({(values - plain).mean():+.4f})"


def dense_units(sample: Path) -> list[str]:
    """What is analog beside the experts where everything is."""
    units = find_units(load_moe_model(sample / "model.onnx").model)
    return [unit.id for unit in units if unit.kind in DENSE]


def print_mitigations(sample: Path, windows: np.ndarray, seeds: int, folder: Path) -> None:
    """Experts analog, and everything analog, without and with each mitigation."""
    calibration = token_windows(sample / "calibration.npz", 256, 32)
    print(f"\n| analog | mitigation | exact | {' | '.join(f'c = {scale:g}' for scale in SCALES)} |")
    print("|---|---|---" + "|---" * len(SCALES) + "|")
    models = {"none": sample / "model.onnx"}
    for name, choices in MITIGATIONS.items():
        mitigate(sample / "model.onnx", calibration, folder / name, **choices)
        models[name] = folder / name / "model.onnx"
    for name, analog in {"experts": (), "everything": dense_units(sample)}.items():
        plain: list[np.ndarray] = []
        for label, model in models.items():
            bundle = compile(model, folder / f"{name}-{label}", digital_frac=0, analog=analog)
            found = [losses(bundle, windows, seeds, noise_scale=scale) for scale in SCALES]
            exact = mean_loss(session_forward(bundle.session(mode="exact")), windows)
            cells = map(cell, found, plain or [None] * len(found))
            print(f"| {name} | {label} | {exact:.4f} | {' | '.join(cells)} |", flush=True)
            plain = plain or found


def print_drift(sample: Path, windows: np.ndarray, seeds: int, folder: Path) -> None:
    """Experts analog at c = 1, by drift compensation."""
    print(f"\n| drift compensation | {' | '.join(DRIFTS)} |\n|---{'|---' * len(DRIFTS)}|")
    for kind in ("none", "global", "column"):
        profile = replace(load_profile(), drift_compensation=kind)
        bundle = compile(sample / "model.onnx", folder / f"drift-{kind}", digital_frac=0, profile=profile)
        cells = [cell(losses(bundle, windows, seeds, drift_time=time)) for time in DRIFTS.values()]
        print(f"| {kind} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    for sample in options.samples:
        windows = token_windows(sample / "heldout.npz", 256, 16)
        print(f"\n{sample.name}, {options.seeds} seeds")
        with tempfile.TemporaryDirectory() as folder:
            print_mitigations(sample, windows, options.seeds, Path(folder))
            print_drift(sample, windows, options.seeds, Path(folder))


if __name__ == "__main__":
    main()
