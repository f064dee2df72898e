"""Compare the error of the programmed stores with the programming noise and print a Markdown table.

    PYTHONPATH=tests python benchmarks/store_error.py

Each number is the root mean square of (product with the store - product with the float32 store), over that of
(product with the float32 store - clean product), on the kernels. All products have the same DAC codes, and no
ADC, whose steps would hide what lies below them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from noise_table import SAMPLE
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, single_node_model
from timing import PROGRAMMED, machine

from hetc.runtimes.onnxruntime.session import open_session

STORES = ("float32", "bfloat16", "int8")
SCALES = (0.25, 0.5, 0.85, 1.0, 2.0, 4.0)
ROWS = 256
ATTRIBUTES = {**ANALOG_ATTRIBUTES, **PROGRAMMED, "adc_bits": 0, "stream": 1}


def main() -> None:
    print(f"{machine()}\n")
    print("| weights | store | " + " | ".join(f"c = {scale:g}" for scale in SCALES) + " |")
    print("|" + " --- |" * (2 + len(SCALES)))
    for label, w in matrices().items():
        x = np.random.default_rng(1).normal(size=(ROWS, w.shape[1])).astype(np.float32)
        model = single_node_model("AnalogMatMul", x, {"w": w}, ATTRIBUTES).SerializeToString()

        def product(model: bytes = model, x: NDArray[np.float32] = x, **entries: str) -> NDArray[np.float64]:
            config = {f"hetc.{key}": value for key, value in entries.items()}
            result: NDArray[np.float32] = open_session(model, config).run(None, {"x": x})[0]
            return result.astype(np.float64)

        clean = product(mode="converters", store="float32")
        reference = {scale: product(noise_scale=str(scale), store="float32") for scale in SCALES}
        for store in STORES:
            ratios = []
            for scale in SCALES:
                error = product(noise_scale=str(scale), store=store) - reference[scale]
                ratios.append(rms(error) / rms(reference[scale] - clean))
            print(f"| {label} | {store} | " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |")


def matrices() -> dict[str, NDArray[np.float32]]:
    """Normal weights of OLMoE's shape, and a trained expert's, `[N, K]`."""
    normal = np.random.default_rng(0).normal(size=(1024, 2048)).astype(np.float32)
    trained = ir.load(SAMPLE / "model.onnx").graph.initializers
    name = next(name for name in trained if name.endswith("experts.3.up_proj.weight"))
    tensor = trained[name].const_value
    assert tensor is not None
    return {"normal, 2048 x 1024": normal, f"sample, {name}": tensor.numpy().astype(np.float32)}


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
