"""What calibrating the routers after programming gives, as ROMER (arXiv 2605.11800) does; Markdown.

    python benchmarks/router_calibration.py samples/tiny_moe samples/tiny_deepseek

A bias per expert on the router's logits, layer after layer, so that their means on calibration text are those
of the clean model under the very programming that is then evaluated; all experts analog. Loss over 4,096
held-out tokens, mean +- standard deviation over programming seeds, and the mean difference.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime

from hetc.bundle.bundle import Bundle
from hetc.bundle.files import MODEL
from hetc.compiler.compile import compile
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.model.inputs import first_step
from hetc.model.load import load_model
from hetc.model.tokens import token_windows
from hetc.runtimes.onnxruntime.session import open_graph

SCALES = (1.0, 8.0)

Biases = dict[str, np.ndarray]


def edited(bundle: Bundle, biases: Mapping[str, np.ndarray]) -> ir.Model:
    """The bundle's model with biases on its routers' logits, which it puts out as they were before."""
    model = load_model(bundle.path / MODEL).model
    nodes = {node.name: node for node in model.graph}
    for router, numbers in biases.items():
        (logits,) = nodes[router].outputs
        bias = ir.val(f"{router}.bias", const_value=ir.tensor(numbers, name=f"{router}.bias"))
        model.graph.register_initializer(bias)
        shift = ir.node("Add", [logits, bias], name=f"{router}.shift")
        for user, index in list(logits.uses()):
            if user is not shift:
                user.replace_input_with(index, shift.outputs[0])
        model.graph.insert_after(nodes[router], shift)
        logits.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(logits)
    return model


def routers(bundle: Bundle) -> list[str]:
    """The products that give the routers' logits, in the order of the layers."""
    return [unit.nodes[0] for unit in bundle.plan.units if unit.kind == "router"]


def opened(model: ir.Model, bundle: Bundle, **config: object) -> onnxruntime.InferenceSession:
    """A session of an edited model."""
    entries = {f"hetc.{key}": str(value) for key, value in config.items()}
    return open_graph(model, bundle.path, entries)


def mean_logits(session: onnxruntime.InferenceSession, windows: np.ndarray) -> list[np.ndarray]:
    """For each router the mean of its logits before the bias, `[E]`."""
    names = [output.name for output in session.get_outputs()]
    added = [name for name in names if name != "logits" and not name.startswith("present")]
    return [
        logits.reshape(-1, logits.shape[-1]).mean(axis=0)
        for logits in session.run(added, first_step(session, windows))
    ]


def calibrated(bundle: Bundle, plain: Biases, windows: np.ndarray, **noise: object) -> Biases:
    """The shift of every router, each measured behind the shifts of those before it."""
    biases = {router: bias.copy() for router, bias in plain.items()}
    clean = mean_logits(opened(edited(bundle, plain), bundle, mode="exact"), windows)
    for index, router in enumerate(biases):
        noisy = mean_logits(opened(edited(bundle, biases), bundle, **noise), windows)
        biases[router] += clean[index] - noisy[index]
    return biases


def print_sample(sample: Path, seeds: int, folder: Path) -> None:
    """A line of the table for each scale."""
    bundle = compile(sample / "model.onnx", folder / "bundle", digital_frac=0)
    windows, calibration = (
        token_windows(sample / f"{name}.npz", 256, 16) for name in ("heldout", "calibration")
    )
    experts = max(unit.expert or 0 for unit in bundle.plan.units) + 1
    plain: Biases = {router: np.zeros(experts, np.float32) for router in routers(bundle)}
    for scale in SCALES:
        found = []
        for seed in range(seeds):
            noise = {"seed": seed, "noise_scale": scale}
            shifted = calibrated(bundle, plain, calibration, **noise)
            sessions = [opened(edited(bundle, biases), bundle, **noise) for biases in (plain, shifted)]
            found.append([mean_loss(session_forward(session), windows) for session in sessions])
        values = np.array(found)
        cells = [f"{one.mean():.4f} +- {one.std(ddof=1):.4f}" for one in values.T]
        cells.append(f"{(values[:, 1] - values[:, 0]).mean():+.4f}")
        print(f"| {sample.name} | {scale:g} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    print("| sample | c | as programmed | routers calibrated | difference |\n|---|---|---|---|---|")
    for sample in options.samples:
        with tempfile.TemporaryDirectory() as folder:
            print_sample(sample, options.seeds, Path(folder))


if __name__ == "__main__":
    main()
