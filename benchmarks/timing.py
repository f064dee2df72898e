"""Time several functions against each other in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["PROGRAMMED", "machine", "medians"]

PROGRAMMED: dict[str, Any] = {
    "mode": "noisy",
    "noise_form": "differential-pair",
    "noise_sigma": [0.0105392, 0.0786, -0.046924],  # pcm
}


def medians(functions: Mapping[str, Callable[[], object]], seconds: float = 0.25) -> dict[str, float]:
    """Return the median time of each function in seconds; they take turns, so that all see the same machine.

    Args:
        functions: what to call, by name.
        seconds: about how long each function is called for; at least 5 times.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    start = time.perf_counter()
    while len(next(iter(times.values()))) < 5 or time.perf_counter() - start < seconds * len(functions):
        for name, function in functions.items():
            before = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - before)
    return {name: float(np.median(values)) for name, values in times.items()}


def machine() -> str:
    """Return processor and versions in a line."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    return f"{processor}; ONNX Runtime {onnxruntime.__version__}; NumPy {np.__version__}"
