"""Find the installed native library and check that ONNX Runtime can take it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hetc.base.errors import RuntimeMissingError

__all__ = ["MINIMUM_ONNXRUNTIME", "library_path", "require_onnxruntime"]

LIBRARY_VARIABLE = "HETC_LIBRARY"

# Kernels read their session's entries through a call that came with this version.
MINIMUM_ONNXRUNTIME = (1, 24)


def library_path() -> Path:
    """Return the path of the installed library of custom operators.

    Only the library that was installed with hetc is taken, never one found beside a model. The environment
    variable `HETC_LIBRARY` names another build, such as one with sanitizers.

    Raises:
        RuntimeMissingError: if ONNX Runtime is missing or too old, or the library was not built.
    """
    import hetc.runtimes.onnxruntime as package

    require_onnxruntime()
    if override := os.environ.get(LIBRARY_VARIABLE):
        if not Path(override).is_file():
            raise RuntimeMissingError(f"{LIBRARY_VARIABLE} names {override}, which is not a file")
        return Path(override).resolve()
    # An editable install keeps sources and built files in two directories of one package.
    for directory in package.__path__:
        path = Path(directory, _file_name())
        if path.is_file():
            return path.resolve()
    searched = ", ".join(package.__path__)
    raise RuntimeMissingError(
        f"{_file_name()} is not in {searched}: install hetc again with a C++17 compiler (pip install .)"
    )


def require_onnxruntime() -> None:
    """Check that an ONNX Runtime is installed which the library can be loaded into.

    Raises:
        RuntimeMissingError: if it is missing or older than 1.24.
    """
    minimum = ".".join(map(str, MINIMUM_ONNXRUNTIME))
    advice = f"pip install 'onnxruntime>={minimum}'"
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissingError(f"onnxruntime cannot be imported ({error}): {advice}") from error
    version: str = onnxruntime.__version__
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_ONNXRUNTIME:
        raise RuntimeMissingError(
            f"onnxruntime {version} is too old, hetc needs {minimum} or newer: {advice}"
        )


def _file_name() -> str:
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    return ("" if sys.platform == "win32" else "lib") + "hetc_ops" + suffix
