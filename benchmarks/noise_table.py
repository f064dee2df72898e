"""Loss of the sample under noise: scales, dense modules analog, digital fractions by maxnn and at random.

    python benchmarks/noise_table.py

Teacher-forced loss in nats per token over held-out tokens, mean +- standard deviation over programming seeds.
Printed as Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import hetc
from hetc.bundle.bundle import Bundle
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.runtimes.onnxruntime.session import open_session

SAMPLE = Path(__file__).parents[1] / "samples" / "tiny_moe"
CONTEXT = 256
SCALES = (1, 2, 4, 8)
FRACTIONS = ("0", "0.125", "0.25", "0.5", "1")


def loss(session: onnxruntime.InferenceSession, windows: np.ndarray) -> float:
    """Mean next-token loss in nats over windows `[n, CONTEXT]`."""
    return mean_loss(session_forward(session), windows)


def row(label: str, values: list[float]) -> str:
    """One line of a table: mean and sample standard deviation."""
    spread = f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"| {label} | {np.mean(values):.4f}{spread} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    seeds = range(options.seeds)
    tokens = np.load(SAMPLE / "heldout.npz")["tokens"][: options.tokens]
    windows = tokens[: len(tokens) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)

    def over_seeds(bundle: Bundle, **choices: object) -> list[float]:
        return [loss(bundle.session(seed=seed, **choices), windows) for seed in seeds]  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:

        def compiled(name: str, **options: object) -> Bundle:
            return hetc.compile(SAMPLE / "model.onnx", Path(folder, name), **options)  # type: ignore[arg-type]

        experts = compiled("experts", digital_frac=0)
        attention = compiled("attention", digital_frac=0, analog=["layers.*.attention"])
        source = loss(open_session(SAMPLE / "model.onnx", library=False), windows)
        print(f"{windows.size:,} held-out tokens, {len(seeds)} seeds; all digital (source): {source:.4f}\n")

        print("| analog | c | loss |\n|---|---|---|")
        for label, bundle in (("experts", experts), ("experts + attention", attention)):
            print(row(f"{label} | 0", [loss(bundle.session(mode="converters"), windows)]))
            for scale in SCALES:
                print(row(f"{label} | {scale}", over_seeds(bundle, noise_scale=scale)))

        print("\n| experts digital (c = 8) | score | loss |\n|---|---|---|")
        chance = [compiled(f"random{seed}", digital_frac=0, score="random", seed=seed) for seed in seeds]
        for fraction in FRACTIONS:
            ranked = over_seeds(experts, noise_scale=8, digital_frac=fraction)
            drawn = [loss(b.session(noise_scale=8, digital_frac=fraction), windows) for b in chance]
            print(row(f"{fraction} | maxnn", ranked))
            print(row(f"{fraction} | random", drawn))


if __name__ == "__main__":
    main()
