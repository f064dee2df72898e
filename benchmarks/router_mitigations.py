"""What ROMER-style mitigations give: calibrated router logits, and rarely used experts replaced. Markdown.

    python benchmarks/router_mitigations.py samples/tiny_moe samples/tiny_deepseek

ROMER (arXiv 2605.11800) calibrates routers and replaces experts under analog noise; its details are not known
here. Measured is, for all experts analog:

* shift: a bias per expert on the router's logits, layer after layer, so that their means on calibration text
  are those of the clean model under the very programming that is then evaluated;
* replace: in each layer the least used expert is never chosen, and its crossbars hold the most used one a
  second time: that expert puts out the mean of two programmings.

Loss over 4,096 held-out tokens, mean +- standard deviation over programming seeds, and the mean difference.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime

from hetc.bundle import MODEL, Bundle
from hetc.likelihood import mean_loss, session_forward
from hetc.model_file import load_model
from hetc.model_inputs import first_step
from hetc.pipeline import compile
from hetc.profile import load_profile
from hetc.record import record
from hetc.runtimes.onnxruntime.session import FOLDER_KEY, open_session

NEVER = -1e9
SCALES = (1.0, 8.0)

Biases = dict[str, np.ndarray]


def edited(bundle: Bundle, biases: Mapping[str, np.ndarray], pairs: Mapping[str, str]) -> ir.Model:
    """The bundle's model with biases on its routers' logits, which it puts out, and with doubled experts."""
    model = load_model(bundle.path / MODEL).model
    nodes = {node.name: node for node in model.graph}
    for router in routers(bundle):
        (logits,) = nodes[router].outputs
        bias = ir.val(f"{router}.bias", const_value=ir.tensor(biases[router], name=f"{router}.bias"))
        model.graph.register_initializer(bias)
        _follow(model.graph, nodes[router], ir.node("Add", [logits, bias], name=f"{router}.shift"))
        logits.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(logits)
    for rare, popular in pairs.items():
        first = nodes[popular]
        attributes = dict(first.attributes)
        for name in ("gate_stream", "up_stream", "down_stream"):
            attributes[name] = nodes[rare].attributes[name]
        second = ir.Node(
            first.domain, first.op_type, first.inputs, attributes.values(), name=f"{popular}.second"
        )
        total = ir.node("Add", [first.outputs[0], second.outputs[0]], name=f"{popular}.sum")
        half = ir.val(f"{popular}.half", const_value=ir.tensor(np.float32(0.5), name=f"{popular}.half"))
        model.graph.register_initializer(half)
        mean = ir.node("Mul", [total.outputs[0], half], name=f"{popular}.mean")
        _follow(model.graph, first, second, total, mean)
    return model


def _follow(graph: ir.Graph, node: ir.Node, *new: ir.Node) -> None:
    """Puts nodes behind `node`, and what the last of them computes in the place of its output."""
    (output,) = node.outputs
    for user, index in list(output.uses()):
        if user not in new:
            user.replace_input_with(index, new[-1].outputs[0])
    graph.insert_after(node, new)


def routers(bundle: Bundle) -> list[str]:
    """The products that give the routers' logits, in the order of the layers."""
    return [unit.nodes[0] for unit in bundle.plan.units if unit.kind == "router"]


def opened(model: ir.Model, bundle: Bundle, **config: object) -> onnxruntime.InferenceSession:
    """A session of an edited model."""
    entries = {f"hetc.{key}": str(value) for key, value in config.items()}
    folder = {FOLDER_KEY: str(bundle.path.absolute())}
    return open_session(ir.to_proto(model).SerializeToString(), {**entries, **folder})


def mean_logits(session: onnxruntime.InferenceSession, windows: np.ndarray) -> list[np.ndarray]:
    """For each router the mean of its logits before the bias, `[E]`."""
    names = [output.name for output in session.get_outputs()]
    added = [name for name in names if name != "logits" and not name.startswith("present")]
    return [
        logits.reshape(-1, logits.shape[-1]).mean(axis=0)
        for logits in session.run(added, first_step(session, windows))
    ]


def calibrated(
    bundle: Bundle, start: Biases, pairs: Mapping[str, str], windows: np.ndarray, **noise: object
) -> Biases:
    """`start` with the shift of every router added, each measured behind the shifts of those before it."""
    biases = {router: bias.copy() for router, bias in start.items()}
    clean = mean_logits(opened(edited(bundle, biases, pairs), bundle, mode="exact"), windows)
    for index, router in enumerate(routers(bundle)):
        noisy = mean_logits(opened(edited(bundle, biases, pairs), bundle, **noise), windows)
        biases[router] += clean[index] - noisy[index]
    return biases


def used_least_and_most(bundle: Bundle, model: Path, windows: np.ndarray) -> dict[str, str]:
    """For each layer its least used expert and its most used one."""
    routing = record(model, windows, load_profile()).routing
    layers: dict[int | None, list[str]] = {}
    for unit in bundle.plan.units:
        if unit.kind == "expert":
            layers.setdefault(unit.layer, []).append(unit.id)
    ranked = [sorted(experts, key=lambda unit: routing[unit].tokens) for experts in layers.values()]
    return {experts[0]: experts[-1] for experts in ranked}


def print_sample(sample: Path, seeds: int, folder: Path) -> None:
    """The table of one sample."""
    bundle = compile(sample / "model.onnx", folder / "bundle", digital_frac=0)
    windows, calibration = (
        np.load(sample / f"{name}.npz")["tokens"][:4096].reshape(-1, 256).astype(np.int64)
        for name in ("heldout", "calibration")
    )
    pairs = used_least_and_most(bundle, sample / "model.onnx", calibration)
    experts = sum(unit.kind == "expert" for unit in bundle.plan.units) // len(pairs)
    plain: Biases = {router: np.zeros(experts, np.float32) for router in routers(bundle)}
    without = {router: bias.copy() for router, bias in plain.items()}
    for router, rare in zip(routers(bundle), pairs, strict=True):
        without[router][int(rare.rpartition(".")[2])] = NEVER
    variants = {
        "none": (plain, {}, False),
        "shift": (plain, {}, True),
        "replace": (without, pairs, False),
        "replace and shift": (without, pairs, True),
    }
    print(
        f"\n{sample.name}, {seeds} seeds\n\n| | exact | {' | '.join(f'c = {scale:g}' for scale in SCALES)} |"
    )
    print("|---|---" + "|---" * len(SCALES) + "|")
    reference: dict[float, np.ndarray] = {}
    for name, (start, doubled, shifts) in variants.items():
        session = opened(edited(bundle, start, doubled), bundle, mode="exact")
        cells = [f"{mean_loss(session_forward(session), windows):.4f}"]
        for scale in SCALES:
            found = []
            for seed in range(seeds):
                noise = {"seed": seed, "noise_scale": scale}
                biases = calibrated(bundle, start, doubled, calibration, **noise) if shifts else start
                session = opened(edited(bundle, biases, doubled), bundle, **noise)
                found.append(mean_loss(session_forward(session), windows))
            values = np.array(found)
            difference = (values - reference.setdefault(scale, values)).mean()
            cells.append(f"{values.mean():.4f} +- {values.std(ddof=1):.4f} ({difference:+.4f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    for sample in options.samples:
        with tempfile.TemporaryDirectory() as folder:
            print_sample(sample, options.seeds, Path(folder))


if __name__ == "__main__":
    main()
