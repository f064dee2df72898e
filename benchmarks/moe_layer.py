"""Time one MoE layer, digital and analog, against other spellings of it and print a Markdown table.

The canonical layer all digital, of `Expert` nodes, takes turns with each other variant, one after another, so
that two layers at a time are in memory. Peers: the operator com.microsoft::MoE, the canonical layer inlined
without hetc's library, and transformers' experts with grouped_mm. Ours: `Expert16` on bfloat16 weights, and
all experts analog (fused kernel, mode `noisy`, after programming) by store. Needs the folder `tests` on
PYTHONPATH, as `make bench` sets it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from moe_models import (
    grouped_mm,
    layer_inputs,
    write_analog,
    write_canonical,
    write_inlined,
    write_moe_operator,
)
from numpy.typing import NDArray
from timing import machine, medians

from hetc.runtimes.onnxruntime.session import open_session

SIZES = [(512, 256), (2048, 1024)]
TOKENS = [1, 32, 128, 1024]
PEERS = ("MoE", "inlined", "grouped_mm")
OURS = ("Expert16", "analog float32", "analog bfloat16", "analog int8")

Layer = Callable[[dict[str, NDArray[Any]]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--hidden", type=int, nargs="+", choices=[h for h, _ in SIZES], default=[512])
    parser.add_argument("--variants", nargs="+", choices=(*PEERS, *OURS), default=[*PEERS, *OURS])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    options = parser.parse_args()
    print(f"{machine()}; HETC_INSTRUCTIONS={os.environ.get('HETC_INSTRUCTIONS', '(all)')}\n")
    ratios = [f"Expert / {name}" if name in PEERS else f"{name} / Expert" for name in options.variants]
    titles = ["hidden / inter", "threads", "tokens", "Expert ms", *ratios, "Expert / fastest peer"]
    print("| " + " | ".join(titles) + " |")
    print("|" + " --- |" * len(titles))
    for hidden, inter in SIZES:
        for threads in options.threads if hidden in options.hidden else ():
            times = measure(hidden, inter, threads, options.tokens, options.variants, options.seconds)
            for tokens, pairs in times.items():
                own = np.median([expert for expert, _ in pairs.values()])
                against = {name: expert / other for name, (expert, other) in pairs.items()}
                peers = [ratio for name, ratio in against.items() if name in PEERS]
                cells = [f"{hidden} / {inter}", str(threads), str(tokens), f"{1e3 * own:.2f}"]
                cells += [f"{r if name in PEERS else 1 / r:.2f}" for name, r in against.items()]
                cells.append(f"{max(peers):.2f}" if peers else "")
                print("| " + " | ".join(cells) + " |", flush=True)


def measure(
    hidden: int, inter: int, threads: int, tokens: list[int], variants: list[str], seconds: float
) -> dict[int, dict[str, tuple[float, float]]]:
    """Seconds of `Expert` and of the variant that took turns with it, by tokens and variant."""
    times: dict[int, dict[str, tuple[float, float]]] = {count: {} for count in tokens}
    with tempfile.TemporaryDirectory() as folder:
        canonical = Path(folder, "Expert.onnx")
        write_canonical(canonical, "Expert", hidden, inter)
        expert = session_layer(canonical, threads)
        for name in variants:
            other = open_variant(name, canonical, hidden, inter, threads)
            for count in tokens:
                inputs = layer_inputs(hidden, count)
                if name in ("inlined", "grouped_mm"):  # the same weights
                    np.testing.assert_allclose(other(inputs), expert(inputs), atol=1e-4)
                runs = {"Expert": bound(expert, inputs), name: bound(other, inputs)}
                medians_of = medians(runs, seconds)
                times[count][name] = medians_of["Expert"], medians_of[name]
            del other
    return times


def open_variant(name: str, canonical: Path, hidden: int, inter: int, threads: int) -> Layer:
    path = canonical.with_name("variant.onnx")
    if name == "grouped_mm":
        return grouped_mm(canonical, threads)
    if name == "MoE":
        write_moe_operator(path, hidden, inter)
    elif name == "inlined":
        write_inlined(path, canonical)
    elif name == "Expert16":
        write_canonical(path, name, hidden, inter)
    else:
        write_analog(path, canonical)
        return session_layer(path, threads, {"hetc.store": name.removeprefix("analog ")})
    return session_layer(path, threads, library=name == "Expert16")


def session_layer(
    path: Path, threads: int, config: dict[str, str] | None = None, *, library: bool = True
) -> Layer:
    session = open_session(path, config, threads=threads, library=library)
    names = [value.name for value in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})[0]


def bound(layer: Layer, inputs: dict[str, NDArray[Any]]) -> Callable[[], object]:
    return lambda: layer(inputs)


if __name__ == "__main__":
    main()
