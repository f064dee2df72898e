"""Everything analog but what a budget keeps: neurons, heads and rows of the LM head compete; prints Markdown.

    python benchmarks/neuron_budgets.py build/smollm2/onnx --scores build/smollm2/scores.safetensors \\
      --data build/smollm2/evaluation.npz --windows 4 --budgets 0% 10%

Losses of a bundle's sessions, mean +- standard deviation over programming seeds, against the exact mode.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from evidence import print_head

from hetc.compiler.compile import compile
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import load_profile
from hetc.model.tokens import token_windows
from hetc.plan.scores import load_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--budgets", nargs="+", default=["0%", "10%"])
    parser.add_argument("--score", default="device-loss")
    parser.add_argument("--noise-scale", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    windows = token_windows(options.data, 256, options.windows)
    scores, profile = load_scores(options.scores), replace(load_profile(), noise_scale=options.noise_scale)
    print_head(["budget", "digital", "predicted", "loss", "above exact"])
    for budget in options.budgets:
        with tempfile.TemporaryDirectory(dir=options.model) as folder:
            bundle = compile(
                options.model,
                Path(folder, "bundle"),
                granularity="neuron",
                score=options.score,
                scores=scores,
                budget=f"parameters:{budget}",
                profile=profile,
                link=True,
            )
            exact = mean_loss(session_forward(bundle.session(mode="exact")), windows)
            losses = [
                mean_loss(session_forward(bundle.session(seed=seed)), windows)
                for seed in range(options.seeds)
            ]
        digital, predicted = bundle.plan.shares.percent()[0], bundle.plan.predicted_loss
        loss = f"{np.mean(losses):.4f} +- {np.std(losses, ddof=1):.4f}"
        above = f"{np.mean(losses) / exact - 1:+.2%}"
        print(f"| {budget} | {digital:.2f} % | {predicted:+.4f} | {loss} | {above} |", flush=True)


if __name__ == "__main__":
    main()
