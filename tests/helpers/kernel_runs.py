"""Run one-node models with hetc's native library."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from single_node import ANALOG_ATTRIBUTES, single_node_model

from hetc.hardware.noise_models import NOISE_MODELS
from hetc.runtimes.onnxruntime.library import library_path
from hetc.runtimes.reference import Crossbar

__all__ = ["MATMUL", "NOISY", "PCM_SIGMA", "crossbar", "device", "open_kernel", "run_kernel", "run_matmul"]

# pcm: sigma / g_max of one device, ascending powers of g / g_max
PCM_SIGMA = (0.0105392, 0.0786, -0.046924)
NOISY: dict[str, Any] = {"mode": "noisy", "noise_form": "differential-pair", "noise_sigma": list(PCM_SIGMA)}
MATMUL: dict[str, Any] = {**ANALOG_ATTRIBUTES, "stream": 3}


def crossbar(attributes: dict[str, Any], store: str = "bfloat16") -> Crossbar:
    """The reference's settings of a node with these attributes."""
    names = {field.name for field in dataclasses.fields(Crossbar)}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in attributes.items()
        if name in names
    }
    return Crossbar(**values, store=store)


def device(name: str) -> dict[str, Any]:
    """Attributes of a node in mode noisy with a device model of the registry."""
    model = NOISE_MODELS[name]
    return {
        "mode": "noisy",
        "noise_form": model.form,
        "noise_sigma": list(model.sigma),
        "noise_sigma_breaks": list(model.sigma_breaks),
        "noise_times": list(model.times),
        "noise_floor": model.floor,
        "noise_offset": model.offset,
        "drift_reference": model.drift_reference,
        "drift_mean": list(model.drift_mean),
        "drift_deviation": list(model.drift_deviation),
        "flicker_deviation": list(model.flicker_deviation),
        "flicker_read_time": model.flicker_read_time,
    }


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
