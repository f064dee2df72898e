"""Runs the parts of a bundle in order, and models without optimisations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from hetc.bundle.files import PARTITIONS
from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["open_plain", "run_parts"]


def open_plain(model: Path, *, library: bool = True) -> onnxruntime.InferenceSession:
    """A session without graph optimisations: fusions reach over boundaries and change digital sums."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if library:
        options.register_custom_ops_library(str(library_path()))
    return onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])


def run_parts(folder: Path, feeds: dict[str, Any], *, library: bool = True) -> list[np.ndarray]:
    manifest = json.loads((folder / PARTITIONS).read_text())
    values = dict(feeds)
    for part in manifest["partitions"]:
        session = open_plain(folder / part["model"], library=library)
        assert [value.name for value in session.get_inputs()] == part["inputs"]
        outputs = session.run(part["outputs"], {name: values[name] for name in part["inputs"]})
        values.update(zip(part["outputs"], outputs, strict=True))
    return [values[name] for name in manifest["outputs"]]
