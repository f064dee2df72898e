"""Run one-node models with hetc's native library."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["MATMUL", "NOISY", "PCM_SIGMA", "open_kernel", "run_kernel", "run_matmul"]

# pcm: sigma / g_max of one device, ascending powers of g / g_max
PCM_SIGMA = (0.0105392, 0.0786, -0.046924)
NOISY: dict[str, Any] = {"mode": "noisy", "noise_form": "differential-pair", "noise_sigma": list(PCM_SIGMA)}
MATMUL: dict[str, Any] = {**ANALOG_ATTRIBUTES, "stream": 3}


def open_kernel(
    model: onnx.ModelProto, config: dict[str, str] | None = None, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Open a session that has the library; `config` holds its `hetc.` entries."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library_path()))
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def run_kernel(
    model: onnx.ModelProto, x: NDArray[Any], config: dict[str, str] | None = None, threads: int = 1
) -> NDArray[np.float32]:
    """Open a session and run x through it."""
    session = open_kernel(model, config, threads)
    output: NDArray[np.float32] = session.run(None, {"x": x.astype(np.float32)})[0]
    return output


def run_matmul(
    x: NDArray[Any],
    w: NDArray[Any],
    attributes: dict[str, Any],
    config: dict[str, str] | None = None,
    threads: int = 1,
    **inputs: NDArray[Any],
) -> NDArray[np.float32]:
    """Run AnalogMatMul with `attributes` over those of MATMUL, and `inputs` among the optional ones."""
    model = single_node_model("AnalogMatMul", x, {"w": w, **inputs}, {**MATMUL, **attributes})
    return run_kernel(model, x, config, threads)
