"""The C sample: built with the C compiler at hand and held against Python, bit for bit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import SAMPLE
from places import ROOT

import hetc
from hetc.bundle.bundle import Bundle
from hetc.model.inputs import first_step

SOURCES = ROOT / "samples" / "embed_c"
SLOTS = SOURCES / "onnxruntime_slots.h"
KERNEL_SLOTS = ROOT / "runtimes/onnxruntime/csrc/ort/abi.h"
HEADER = Path(os.environ.get("ONNXRUNTIME_C_API_H", "/usr/include/onnxruntime/onnxruntime_c_api.h"))
TOKENS = [5, 77, 300, 12, 9, 44]

if shutil.which("cc") is None or shutil.which("make") is None:
    pytest.skip("no C compiler or no make", allow_module_level=True)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed")
    subprocess.run(["make", "-s", "-C", SOURCES, f"BUILD={folder}"], check=True)
    return folder / "embed"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "tiny_moe.hetc"
    return hetc.compile(SAMPLE / "model.onnx", folder, digital_frac=0.25)


def runtime_library() -> Path:
    found = sorted(Path(onnxruntime.__path__[0], "capi").glob("libonnxruntime.so.*"))
    if not found:
        pytest.skip("this onnxruntime package holds no libonnxruntime.so")
    return found[0]


def embed(program: Path, bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program, runtime_library(), bundle, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=bundle.parent)


@pytest.mark.parametrize(
    ("entries", "choices"),
    [
        ([], {}),
        (["hetc.mode=exact"], {"mode": "exact"}),
        (["hetc.seed=7", "hetc.noise_scale=4"], {"seed": 7, "noise_scale": 4}),
    ],
)
def test_logits_equal_python_s(
    program: Path, bundle: Bundle, entries: list[str], choices: dict[str, object]
) -> None:
    done = embed(program, bundle.path, *entries, *TOKENS)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    session = bundle.session(threads=1, **choices)  # type: ignore[arg-type]
    logits = session.run(["logits"], first_step(session, np.array([TOKENS])))[0]
    assert [int(token) for token, _ in lines] == list(range(logits.shape[-1]))
    printed = np.array([float(value) for _, value in lines], np.float32)
    np.testing.assert_array_equal(printed.view(np.uint32), logits[0, -1].view(np.uint32))


def test_a_bundle_in_the_working_folder(program: Path, bundle: Bundle) -> None:
    """Its library's path has no folder before the bundle's name."""
    done = embed(program, bundle.path, *TOKENS)
    command = [program, runtime_library(), bundle.path.name, *map(str, TOKENS)]
    here = subprocess.run(command, capture_output=True, text=True, cwd=bundle.path.parent)
    assert here.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["five"], "five: is not a token id"),
        (["hetc.sed=1", "5"], "hetc.sed is not known"),
        (["hetc.mode=exact"], "give at least one token id"),
    ],
)
def test_refusals(program: Path, bundle: Bundle, arguments: list[str], message: str) -> None:
    done = embed(program, bundle.path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_something_that_is_not_onnxruntime(program: Path, bundle: Bundle) -> None:
    library = next(bundle.path.glob("lib/*/libhetc_ops.*"))
    done = subprocess.run([program, library, bundle.path, "1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not ONNX Runtime" in done.stderr


def declared(header: Path) -> dict[str, tuple[int, int]]:
    """Number of each function by its name: the one in the comment, and the one that the gaps add up to."""
    body = re.search(r"struct OrtApi \{(.*?)\n\}", header.read_text(), re.S)
    assert body is not None
    slots, position = {}, 0
    for gap, size, slot, name in re.findall(
        r"void\* gap_(\d+)\[(\d+)\];|/\* +(\d+) \*/ [^;]*?\(\*(\w+)\)", body.group(1)
    ):
        if gap:
            assert int(gap) == position
            position += int(size)
        else:
            slots[name] = (int(slot), position)
            position += 1
    return slots


def test_slots_agree_with_those_of_the_kernels() -> None:
    ours, kernels = declared(SLOTS), declared(KERNEL_SLOTS)
    for slots in (ours, kernels):
        assert all(number == position for number, position in slots.values())
    shared = ours.keys() & kernels.keys()
    assert len(shared) >= 5
    assert {name: ours[name] for name in shared} == {name: kernels[name] for name in shared}


def test_slots_agree_with_the_real_header(tmp_path: Path) -> None:
    """Where ONNX Runtime's C header is at hand (ONNXRUNTIME_C_API_H names it)."""
    if not HEADER.is_file():
        pytest.skip("no ONNX Runtime C header")
    source = tmp_path / "slots.c"
    checks = [
        f'_Static_assert(offsetof(OrtApi, {name}) == {slot} * sizeof(void*), "{name}");'
        for name, (slot, _) in declared(SLOTS).items()
    ]
    source.write_text(f'#include <stddef.h>\n#include "{HEADER}"\n' + "\n".join(checks))
    subprocess.run(["cc", "-std=c11", "-fsyntax-only", source], check=True)
