"""What a budget of parameters makes digital, and whether "dense modules digital" follows from it; Markdown.

    hetc score samples/tiny_moe --data samples/tiny_moe/calibration.npz --noise-scale 8 \\
      -o build/evidence/tiny_moe.scores.safetensors          (`make evidence` does so)
    python benchmarks/budgets.py samples/tiny_moe samples/tiny_deepseek

The rule of arXiv 2603.02633, dense modules and a fraction of each layer's experts by MaxNNScore, against
`compile --budget` at its share of parameters, where dense modules and experts compete by expected loss. 4,096
held-out tokens at c = 8, mean +- standard deviation over 16 seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import load_profile
from hetc.model.tokens import token_windows
from hetc.plan.scores import load_scores
from hetc.plan.units import DENSE

PROFILE = replace(load_profile(), noise_scale=8.0)
FRACTIONS = ("0", "0.125", "0.25")
SEEDS = range(16)


def print_row(name: str, bundle: Bundle, windows: np.ndarray) -> None:
    """What is digital in a bundle, and its loss."""
    losses = [mean_loss(session_forward(bundle.session(seed=seed)), windows) for seed in SEEDS]
    cells = [f"{bundle.plan.shares.percent()[0]:.2f} %", name]
    for kinds in (DENSE, ("expert",)):
        digital = [unit.target == "digital" for unit in bundle.plan.units if unit.kind in kinds]
        cells.append(f"{sum(digital)} of {len(digital)}")
    print(f"| {' | '.join(cells)} | {np.mean(losses):.4f} +- {np.std(losses, ddof=1):.4f} |", flush=True)


def print_sample(sample: Path, folder: Path) -> None:
    """The table of one sample."""
    windows = token_windows(sample / "heldout.npz", 256, 16)
    scores = load_scores(Path("build/evidence", f"{sample.name}.scores.safetensors"))

    def compiled(**choices: object) -> Bundle:
        return compile(sample / "model.onnx", folder / "bundle", profile=PROFILE, force=True, **choices)

    def budgeted(parameters: int) -> Bundle:
        return compiled(budget=f"parameters:{parameters}", score="expected-loss", scores=scores)

    for fraction in FRACTIONS:
        rule = compiled(digital_frac=fraction)
        print_row("rule", rule, windows)
        print_row("budget", budgeted(rule.plan.shares.digital), windows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    for sample in parser.parse_args().samples:
        print(f"\n{sample.name}\n")
        print("| parameters digital | placed by | dense modules digital | experts digital | loss |")
        print("|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            print_sample(sample, Path(folder))


if __name__ == "__main__":
    main()
