"""How much a score could recover: experts ranked by what each is seen to cost on the text that is evaluated.

    python benchmarks/score_ceiling.py samples/tiny_moe samples/tiny_deepseek

For every expert the loss is measured with that one digital and all others analog at c = 8, 4 seeds, on the
very 4,096 held-out tokens that the placement is then evaluated on with 16 other seeds: more than a score can
know. Experts are ranked over the model. Markdown, to be held against the table of `make evidence`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import load_profile
from hetc.model.tokens import token_windows
from hetc.plan.scores import Scores

PROFILE = replace(load_profile(), noise_scale=8.0)
FRACTIONS = (0.0, 0.125, 0.25, 1.0)
SEEDS, MEASURING_SEEDS = range(16), range(100, 104)


def loss(bundle: Bundle, windows: np.ndarray, seeds: Iterable[int], digital_frac: float = 0) -> float:
    """Mean over programming seeds."""
    sessions = (bundle.session(seed=seed, digital_frac=digital_frac) for seed in seeds)
    return float(np.mean([mean_loss(session_forward(session), windows) for session in sessions]))


def measured(model: Path, windows: np.ndarray, folder: Path) -> Scores:
    """By how much the loss falls when an expert becomes digital."""
    analog = compile(model, folder / "analog", digital_frac=0, profile=PROFILE)
    before = loss(analog, windows, MEASURING_SEEDS)
    gains = {}
    for unit in analog.plan.units:
        if unit.kind == "expert":
            one = compile(
                model, folder / "one", digital_frac=0, digital=[unit.id], profile=PROFILE, force=True
            )
            gains[unit.id] = before - loss(one, windows, MEASURING_SEEDS)
    return Scores({"measured": gains})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    print("| sample | recovered at 12.5% | recovered at 25% |\n|---|---|---|")
    for sample in parser.parse_args().samples:
        model = sample / "model.onnx"
        windows = token_windows(sample / "heldout.npz", 256, 16)
        with tempfile.TemporaryDirectory() as folder:
            scores = measured(model, windows, Path(folder))
            ranked = compile(
                model,
                Path(folder) / "ranked",
                digital_frac=0,
                score="measured",
                scores=scores,
                ranking="model",
                profile=PROFILE,
            )
            none, *some, all_of_them = (loss(ranked, windows, SEEDS, fraction) for fraction in FRACTIONS)
        cells = [f"{(none - each) / (none - all_of_them):.1%}" for each in some]
        print(f"| {sample.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
