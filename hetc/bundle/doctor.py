"""What is installed and what it runs on; does the operator library load and compute?"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

import numpy as np
import onnx_ir as ir
from packaging.requirements import Requirement

from hetc.base.errors import HetcError
from hetc.base.progress import progress
from hetc.base.quantity import quantity
from hetc.base.version import __version__
from hetc.base.workspace import workspace
from hetc.bundle.checks import Check
from hetc.model.measurement_cache import cache_folder
from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["doctor"]

INSTALL_AGAIN = "pip install .  (in a checkout of hetc, with a C++17 compiler)"


def doctor() -> list[Check]:
    """Looks at the packages of every extra, the devices, the cache, and the operator library.

        >>> import hetc
        >>> {check.name: check.status for check in hetc.doctor()}["library"]
        'ok'

    Returns:
        What was found; where something is missing, `mend` is the command that mends it.
    """
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return [
        Check("hetc", "ok", f"{__version__}, {python}"),
        *_packages(),
        *_library(),
        _gpus(),
        _cache(),
    ]


def _packages() -> Iterator[Check]:
    """What hetc itself needs, and each extra."""
    try:
        known = metadata("hetc")
    except PackageNotFoundError:
        yield Check("packages", "failed", "hetc is not installed, only imported", INSTALL_AGAIN)
        return
    needed = [Requirement(text) for text in known.get_all("Requires-Dist") or ()]
    for extra in ("", *(known.get_all("Provides-Extra") or ())):
        # One that only another platform or Python needs is left out.
        own = [
            one
            for one in needed
            if (one.marker is None or one.marker.evaluate({"extra": extra})) and _of(one) == bool(extra)
        ]
        found = {one.name: _fault(one) for one in own}
        faults = [fault for fault in found.values() if fault]
        there = ", ".join(f"{name} {version(name)}" for name, fault in found.items() if not fault)
        missing, status = ("not run", f"pip install '.[{extra}]'  (in a checkout of hetc)")
        if not extra:
            missing, status = "failed", INSTALL_AGAIN
        name = f"extra {extra}" if extra else "packages"
        if faults:
            yield Check(name, missing, "; ".join([*faults, *([there] if there else [])]), status)
        else:
            yield Check(name, "ok", there)


def _of(requirement: Requirement) -> bool:
    """Whether a package belongs to an extra."""
    return requirement.marker is not None and "extra" in str(requirement.marker)


def _fault(requirement: Requirement) -> str:
    """What is wrong with a package; empty for nothing."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"{requirement.name} is {installed}, not {requirement.specifier}"


def _library() -> Iterator[Check]:
    try:
        path = library_path()
        yield Check("library", "ok", str(path))
        yield Check("library runs", "ok", _run_guard())
    except HetcError as error:
        yield Check("library", "failed", str(error), INSTALL_AGAIN)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    instructions = ctypes.CDLL(str(path)).hetc_instructions
    instructions.restype = ctypes.c_char_p
    bound = os.environ.get("HETC_INSTRUCTIONS")
    limited = f", at most {bound} as HETC_INSTRUCTIONS says" if bound else ""
    yield Check("CPU", "ok", f"{cores} cores, instructions {instructions().decode()}{limited}")


def _gpus() -> Check:
    """The GPUs that torch can compute on: what `--device` takes."""
    try:
        with progress("looking for GPUs"):
            import torch
    except ImportError:
        return Check("GPU", "not run", "torch is not installed", "pip install '.[export]'")
    if not torch.cuda.is_available():
        return Check("GPU", "not run", f"torch {torch.__version__} sees none; --device cpu works")
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return Check(
        "GPU",
        "ok",
        ", ".join(f"cuda:{i} {one.name}, {quantity(one.total_memory, 'B')}" for i, one in enumerate(found)),
    )


def _cache() -> Check:
    """Where measurements of weight files are kept, and how large that is."""
    folder = cache_folder()
    sizes = [file.stat().st_size for file in folder.glob("*") if file.is_file()] if folder.is_dir() else []
    above = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(above, os.W_OK):
        detail = f"{folder} can't be written: every command reads all weights again"
        return Check("cache", "not run", detail, "export XDG_CACHE_HOME=FOLDER")
    return Check("cache", "ok", f"{folder}, {quantity(sum(sizes), 'B')} about {len(sizes)} weight files")


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
