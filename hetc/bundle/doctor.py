"""What is installed, and does the operator library load and compute?"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import onnx_ir as ir

from hetc.base.errors import HetcError
from hetc.base.version import __version__
from hetc.base.workspace import workspace
from hetc.bundle.checks import Check
from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["examine"]

NEEDED = ("numpy", "onnx", "onnx_ir", "onnxruntime")
FOR_EXPORT = ("torch", "transformers", "onnxscript", "safetensors")


def examine() -> list[Check]:
    """Versions, where the library is, and a guarded model that only runs with it."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    checks = [Check("hetc", "ok", f"{__version__}, {python}")]
    checks += [_package(name, "failed") for name in NEEDED]
    checks += [_package(name, "not run") for name in FOR_EXPORT]
    try:
        checks.append(Check("library", "ok", str(library_path())))
        checks.append(Check("library runs", "ok", _run_guard()))
    except HetcError as error:
        checks.append(Check("library", "failed", str(error)))
    return checks


def _package(name: str, missing: str) -> Check:
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(
            name, missing, "not installed" + (" (hetc export needs it)" if name in FOR_EXPORT else "")
        )


def _run_guard() -> str:
    from hetc.runtimes.onnxruntime.session import open_session

    x = ir.val("x", ir.DataType.FLOAT, [3])
    guard = ir.node("RequireLibrary", [x], domain="hetc", name="require_library")
    guard.outputs[0].name = "y"
    guard.outputs[0].type, guard.outputs[0].shape = x.type, x.shape
    graph = ir.Graph([x], guard.outputs, nodes=[guard], opset_imports={"": 18, "hetc": 1}, name="guard")
    with workspace() as folder:
        path = folder / "guard.onnx"
        ir.save(ir.Model(graph, ir_version=10), path)
        session = open_session(path)
        numbers = np.arange(3, dtype=np.float32)
        assert np.array_equal(session.run(None, {"x": numbers})[0], numbers)
    return "a model that needs it loads and runs"
