"""Makes tests/helpers importable from every test folder."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
os.environ["HF_HUB_OFFLINE"] = "1"
if not Path("/dev/nvidia0").exists():
    # Triton looks once, when it is imported; its interpreter runs kernels on any machine.
    os.environ["TRITON_INTERPRET"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers whose torch takes every core wait for each other at each product.
    os.environ["OMP_NUM_THREADS"] = "1"

    class OneThread(onnxruntime.SessionOptions):  # type: ignore[misc]
        """And so it is with ONNX Runtime, where a test does not ask for threads."""

        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = 1

    onnxruntime.SessionOptions = OneThread


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting imports stays, and there is much of it: garbage is not looked for in it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
