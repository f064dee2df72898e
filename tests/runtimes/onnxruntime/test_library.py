"""The library as a file, how it is found, and its declarations of ONNX Runtime's ABI."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import onnxruntime
import pytest
from places import ROOT

import hetc.runtimes.onnxruntime as package
from hetc.base.errors import RuntimeMissingError
from hetc.runtimes.onnxruntime.library import library_path

SOURCES = ROOT / "runtimes/onnxruntime/csrc"
FLOORS = ("vector", "ort", "crossbar", "operators")
HEADER = os.environ.get("ONNXRUNTIME_C_API_H", "/usr/include/onnxruntime/onnxruntime_c_api.h")


def test_exports_two_symbols_and_links_no_onnxruntime() -> None:
    if shutil.which("nm") is None or shutil.which("readelf") is None:
        pytest.skip("binutils are not installed")
    path = str(library_path())
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    found = [line.split()[-1] for line in symbols.stdout.splitlines()]
    assert found == ["RegisterCustomOps", "hetc_instructions", "hetc_programmings"]
    needed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" in needed
    assert "onnxruntime" not in needed


def test_a_runtime_without_the_api_gets_a_status() -> None:
    """GetApi answers NULL to every version but the first, whose CreateStatus takes the message."""
    create_status_type = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p)
    get_api_type = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_uint32)
    version_type = ctypes.CFUNCTYPE(ctypes.c_size_t)
    messages: list[bytes] = []

    def create_status(code: int, message: bytes) -> int:
        messages.append(message)
        return 1

    status_function = create_status_type(create_status)
    table = (ctypes.c_void_p * 4)(ctypes.cast(status_function, ctypes.c_void_p))
    get_api = get_api_type(lambda version: ctypes.addressof(table) if version == 1 else 0)
    name = ctypes.create_string_buffer(b"1.20.0")
    get_version = version_type(lambda: ctypes.addressof(name))
    base = (ctypes.c_void_p * 2)(
        ctypes.cast(get_api, ctypes.c_void_p), ctypes.cast(get_version, ctypes.c_void_p)
    )
    register = ctypes.CDLL(str(library_path())).RegisterCustomOps
    register.restype = ctypes.c_void_p
    assert register(None, base) == 1
    assert messages == [
        b"libhetc_ops needs ONNX Runtime 1.24 or newer; this is 1.20.0: pip install -U onnxruntime"
    ]


def test_missing_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    with pytest.raises(RuntimeMissingError, match=r"hetc_ops.* is not in .*pip install"):
        library_path()


@pytest.mark.parametrize("version", ["1.23.2", "0.5"])
def test_old_onnxruntime(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    with pytest.raises(RuntimeMissingError, match=r"too old, hetc needs 1\.24"):
        library_path()


def test_declarations_agree_with_the_real_header(tmp_path: Path) -> None:
    """Slots of both structures, where ONNX Runtime's C header is at hand (ONNXRUNTIME_C_API_H names it)."""
    compiler = shutil.which("c++")
    if compiler is None or not Path(HEADER).is_file():
        pytest.skip("no ONNX Runtime C header or no compiler")
    version = int(re.findall(r"#define ORT_API_VERSION (\d+)", Path(HEADER).read_text())[0])
    added_in = {"KernelInfo_GetConfigEntries": 24, "GetKeyValuePairs": 22, "ReleaseKeyValuePairs": 22}
    declared = re.findall(r"/\* +(\d+) \*/ [^;]*?\(\*(\w+)\)", (SOURCES / "ort/abi.h").read_text())
    checks = [
        f'static_assert(offsetof(OrtApi, {name}) == {slot} * sizeof(void*), "{name}");'
        for slot, name in declared
        if added_in.get(name, 17) <= version
    ]
    for slot, name in (
        (1, "CreateKernel"),
        (2, "GetName"),
        (17, "CreateKernelV2"),
        (19, "InferOutputShapeFn"),
    ):
        checks.append(f'static_assert(offsetof(OrtCustomOp, {name}) == {slot} * sizeof(void*), "{name}");')
    source = tmp_path / "slots.cc"
    source.write_text(f'#include <cstddef>\n#include "{HEADER}"\n' + "\n".join(checks))
    assert len(checks) > 25
    subprocess.run([compiler, "-std=c++17", "-fsyntax-only", str(source)], check=True)


def test_another_build_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "libother.so"
    monkeypatch.setenv("HETC_LIBRARY", str(other))
    with pytest.raises(RuntimeMissingError, match="not a file"):
        library_path()
    other.touch()
    assert library_path() == other


def test_includes_point_one_way() -> None:
    """Each folder of the sources includes only itself and what lies below it."""
    for number, folder in enumerate(FLOORS):
        for file in (SOURCES / folder).iterdir():
            included = re.findall(r'#include "(\w+)/', file.read_text())
            assert set(included) <= set(FLOORS[: number + 1]), file
