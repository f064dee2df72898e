"""Time what a user waits for, and print a Markdown table of medians.

    PYTHONPATH=tests/helpers python benchmarks/command_times.py

Commands run as processes of their own and take turns with a process that imports no more than click: `hetc
--help` should come close to it, while `hetc compile` of the sample is mostly imports. The first run of an
adapted session stands beside that of a session that has to program its crossbars. Asked for: `hetc --help`
within 0.3 s, `hetc compile` within 2 s, the adapted run within half of the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
from models import moe_model
from timing import machine, medians

from hetc.bundle.bundle import Bundle
from hetc.bundle.files import TUNING
from hetc.compiler.compile import compile
from hetc.tuning.shares import TunedShare, Tuning

MODEL = Path(__file__).parents[1] / "samples" / "tiny_moe" / "model.onnx"
TOKENS = {"input_ids": np.arange(11)}
YEAR = 31536000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each command")
    parser.add_argument("--rounds", type=int, default=5, help="of sessions that adapt")
    options = parser.parse_args()
    print(f"{machine()}\n\n| what | median | ratio | to |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        times = medians(commands(Path(folder)), options.seconds)
        adapted, cold = first_runs(Path(folder), options.rounds)
    click = times.pop("import click")
    for name, median in times.items():
        print(f"| {name} | {median:.3f} s | {median / click:.2f} | import click |")
    print(f"| first run, adapted | {adapted:.3f} s | {adapted / cold:.2f} | first run, programming |")


def commands(folder: Path) -> dict[str, Callable[[], object]]:
    """What to time, each a process of its own."""
    output = ("-o", str(folder / "sample.hetc"), "--force")
    arguments = {
        "import click": ("-c", "import click"),
        "hetc --help": ("-m", "hetc.cli.main", "--help"),
        "hetc compile": ("-m", "hetc.cli.main", "compile", str(MODEL), *output),
    }

    def process(given: tuple[str, ...]) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *given], check=True, stdout=subprocess.DEVNULL)

    return {name: process(given) for name, given in arguments.items()}


def first_runs(folder: Path, rounds: int) -> tuple[float, float]:
    """Median seconds of a session's first run: where adapting programmed for it, and where nothing did."""
    bundle = tuned_bundle(folder / "tuned.hetc")
    times = []
    for seed in range(rounds):
        session = bundle.session(seed=seed, target_loss=1, threads=1)
        session.adapt(drift_time=YEAR)
        cold = bundle.session(
            seed=rounds + seed, drift_time=YEAR, digital_frac=session.digital_frac, threads=1
        )
        times.append((first_run(session), first_run(cold)))
    adapted, cold_ones = np.median(times, axis=0)
    return float(adapted), float(cold_ones)


def tuned_bundle(path: Path) -> Bundle:
    """A bundle whose session takes its smaller share until the crossbars have drifted."""
    model = moe_model(layers=1, experts=8, hidden=512, inter=1024, top_k=8)
    bundle = compile(model, path, digital_frac=0)
    shares = tuple(TunedShare(share, 0, noise, 1, 1, 1) for share, noise in (("0", 0.1), ("0.5", 1)))
    tuning = Tuning("loss", 1, 1, 2, 0.95, "", shares, ())
    (bundle.path / TUNING).write_text(json.dumps(asdict(tuning)))
    return bundle


def first_run(session: onnxruntime.InferenceSession) -> float:
    start = time.perf_counter()
    session.run(None, TOKENS)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
