"""A session that adapts its digital share to drift, and how long measuring and reopening take; Markdown.

    python benchmarks/adapting.py samples/tiny_moe

pcm at c = 4, without drift compensation and with the global one. `hetc tune` on the first 2,048 held-out
tokens after 0 s, an hour, a day and a year, for at most 2 % more loss; the adapting session has a seed that
tuning didn't see, and its loss is that of the 4,096 tokens that follow.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hetc.compiler.compile import compile
from hetc.costing.cost import CostBasis
from hetc.costing.profile import DEFAULT_COSTS, load_costs
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import load_profile
from hetc.model.tokens import token_windows
from hetc.tuning.tune import tune

AGES = {"0 s": 0.0, "an hour": 3600.0, "a day": 86400.0, "a year": 31536000.0}
UNSEEN_SEED = 1000
COLUMNS = (
    "drift compensation",
    "after",
    "crossbars err by",
    "share",
    "loss at the first share",
    "loss adapted",
    "adapting takes",
)


def print_sample(sample: Path, compensation: str, folder: Path) -> None:
    """The lines of one kind of drift compensation."""
    profile = replace(load_profile(), noise_scale=4.0, drift_compensation=compensation)
    bundle = compile(sample / "model.onnx", folder / compensation, digital_frac=0, profile=profile)
    windows = token_windows(sample / "heldout.npz", 256)
    seen, unseen = windows[:8], windows[8:24]
    basis = CostBasis(load_costs(DEFAULT_COSTS))
    tuning = tune(bundle, seen, basis, max_drop="2%", seeds=4, drift_times=list(AGES.values()))
    session = bundle.session(seed=UNSEEN_SEED, target_loss=tuning.bound)
    unadapted = session.digital_frac
    clean = mean_loss(session_forward(bundle.session(mode="exact")), unseen)
    for age, drift_time in AGES.items():
        start = time.perf_counter()
        session.adapt(drift_time=drift_time)
        seconds = time.perf_counter() - start
        as_it_was = bundle.session(seed=UNSEEN_SEED, digital_frac=unadapted, drift_time=drift_time)
        losses = [mean_loss(session_forward(each), unseen) / clean - 1 for each in (as_it_was, session)]
        cells = [f"{session.noise:.2%}", f"{float(session.digital_frac):.2%}"]
        cells += [f"{loss:+.2%}" for loss in losses]
        print(f"| {compensation} | {age} | {' | '.join(cells)} | {seconds:.2f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    for sample in parser.parse_args().samples:
        print(f"\n{sample.name}\n")
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
        with tempfile.TemporaryDirectory() as folder:
            for compensation in ("global", "none"):
                print_sample(sample, compensation, Path(folder))


if __name__ == "__main__":
    main()
