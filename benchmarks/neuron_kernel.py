"""Compare an AnalogExpert with a share of its neurons digital with what its two parts cost alone.

Prints a Markdown table of ratios: the time of the expert, over the analog share of the time of the all-analog
expert plus the digital share of the time of a digital one: `Expert` (float32) or `Expert16` (bfloat16), or
the same node in mode exact. Mode noisy, after programming. Needs the folder `tests` on PYTHONPATH, as
`make bench` sets it.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
from kernel_speed import runner
from single_node import ANALOG_ATTRIBUTES, single_node_model
from timing import PROGRAMMED, machine, medians

from hetc.operators.expert import expert_function
from hetc.runtimes.onnxruntime.session import open_session

SIZES = [(2048, 1024), (512, 256)]
ROWS = [1, 8, 32, 128, 512]
TYPES: dict[str, Any] = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
STREAMS = {"gate_stream": 0, "up_stream": 1, "down_stream": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digital", type=float, default=0.125, help="share of the neurons")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--store", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    options = parser.parse_args()
    share = options.digital
    print(f"{machine()}; HETC_INSTRUCTIONS={os.environ.get('HETC_INSTRUCTIONS', '(all)')}\n")
    titles = [
        "hidden / inter",
        "weights",
        "threads",
        "M",
        "analog ms",
        "digital / analog",
        "exact / analog",
    ]
    titles += [f"{share:.1%} digital ms", "over analog and digital", "over analog and exact"]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for hidden, inter in SIZES:
        for kind, dtype in TYPES.items():
            for threads in options.threads:
                sessions = open_sessions(hidden, inter, dtype, share, options.store, threads)
                for rows in options.rows:
                    x = np.random.default_rng(rows).normal(size=(rows, hidden)).astype(np.float32)
                    runs = {name: runner(session, x) for name, session in sessions.items()}
                    times = medians(runs, options.seconds)
                    analog = times["analog"]
                    parts, exact_parts = (
                        (1 - share) * analog + share * times[name] for name in ("digital", "exact")
                    )
                    cells = [f"{hidden} / {inter}", kind, str(threads), str(rows), f"{1e3 * analog:.3f}"]
                    cells += [f"{times[name] / analog:.2f}" for name in ("digital", "exact")]
                    cells += [f"{1e3 * times['mixed']:.3f}"]
                    cells += [f"{times['mixed'] / both:.2f}" for both in (parts, exact_parts)]
                    print("| " + " | ".join(cells) + " |", flush=True)


def open_sessions(
    hidden: int, inter: int, dtype: Any, share: float, store: str, threads: int
) -> dict[str, onnxruntime.InferenceSession]:
    """The expert all analog, all digital, in mode exact, and with `share` of its neurons digital."""
    random = np.random.default_rng(0)
    shapes = {"gate": (inter, hidden), "up": (inter, hidden), "down": (hidden, inter)}
    weights = {
        name: (random.normal(size=shape) / np.sqrt(shape[1])).astype(dtype) for name, shape in shapes.items()
    }
    ranks = {"neuron_rank": random.permutation(inter).astype(np.int32)}
    group = {"group_size": inter, "rank": inter - 1}
    x = np.zeros((1, hidden), np.float32)
    attributes = {**ANALOG_ATTRIBUTES, **PROGRAMMED, **STREAMS, **group, "activation": "silu"}
    model = single_node_model("AnalogExpert", x, {**weights, **ranks}, attributes).SerializeToString()
    operator = "Expert" if dtype == np.float32 else "Expert16"
    function = expert_function(operator, opset=18, gated=True, activation="silu")
    digital = single_node_model(
        operator, x, weights, {"transpose_weight": 1, "activation": "silu"}, [function]
    ).SerializeToString()
    entries = {"hetc.store": store}
    return {
        "analog": open_session(model, entries, threads=threads),
        "exact": open_session(model, {"hetc.mode": "exact"}, threads=threads),
        "digital": open_session(digital, threads=threads),
        "mixed": open_session(model, {**entries, "hetc.digital_frac": str(share)}, threads=threads),
    }


if __name__ == "__main__":
    main()
