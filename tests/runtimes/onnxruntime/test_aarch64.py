"""The library on aarch64: cross-compiled, and run under QEMU by the C sample and ONNX Runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import SAMPLE
from equality import assert_mostly_equal
from places import ROOT

import hetc
from hetc.bundle.bundle import Bundle
from hetc.model.inputs import first_step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TARGET = "aarch64-linux-gnu"
COMPILERS = f"{TARGET}-gcc", f"{TARGET}-g++"
# The first that shows an aarch64 program an aarch64's /proc/cpuinfo, without which ONNX Runtime crashes.
MINIMUM_QEMU = (8, 2)
TOKENS = [5, 77, 300, 12, 9, 44]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libhetc_ops.so for aarch64, built without a warning."""
    for tool in (*COMPILERS, "cmake"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    build = tmp_path_factory.mktemp("aarch64")
    options = [
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={COMPILERS[1]}",
        "-DCMAKE_CXX_FLAGS=-Werror",
    ]
    subprocess.run(["cmake", "-S", ROOT, "-B", build, *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build, "-j2"], check=True, stdout=subprocess.DEVNULL)
    return build / "libhetc_ops.so"


@pytest.fixture(scope="module")
def qemu() -> list[str]:
    """The emulator with the cross compiler's C library; QEMU_AARCH64 names another than that of PATH."""
    program = shutil.which(os.environ.get("QEMU_AARCH64", "qemu-aarch64"))
    if program is None:
        pytest.skip("no qemu-aarch64 (Debian's package is qemu-user)")
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", said)
    assert version is not None, said
    if (int(version[1]), int(version[2])) < MINIMUM_QEMU:
        needed = ".".join(map(str, MINIMUM_QEMU))
        pytest.skip(f"ONNX Runtime needs QEMU {needed} or newer, this is {version[1]}.{version[2]}")
    return [program, "-L", f"/usr/{TARGET}"]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime for aarch64, of the version that is installed here."""
    folder = tmp_path_factory.mktemp("onnxruntime")
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 26, 27, 28)]
    wanted = ["--no-deps", "--only-binary=:all:", *platforms, f"onnxruntime=={onnxruntime.__version__}"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", folder, *wanted]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip(f"pip can't get onnxruntime {onnxruntime.__version__} for aarch64")
    return next(folder.glob("onnxruntime/capi/libonnxruntime.so.*"))


@pytest.fixture(scope="module")
def program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed")
    command = ["make", "-s", "-C", ROOT / "samples/embed_c", f"BUILD={folder}", f"CC={COMPILERS[0]}"]
    subprocess.run(command, check=True)
    return folder / "embed"


@pytest.fixture(scope="module")
def bundle(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The sample's, compiled here, with the library for aarch64 beside this machine's."""
    made = hetc.compile(
        SAMPLE / "model.onnx", tmp_path_factory.mktemp("bundle") / "sample.hetc", digital_frac=0.25
    )
    folder = made.path / "lib/linux-aarch64"
    folder.mkdir(exist_ok=True)
    shutil.copy(library, folder)
    return made


@pytest.mark.parametrize(
    ("entries", "choices"),
    [
        (["hetc.mode=exact"], {"mode": "exact"}),
        (["hetc.mode=converters"], {"mode": "converters"}),
        (["hetc.seed=7", "hetc.noise_scale=2"], {"seed": 7, "noise_scale": 2}),
        (["hetc.seed=7", "hetc.store=int8"], {"seed": 7, "store": "int8"}),
    ],
)
def test_a_seed_gives_what_it_gives_on_this_machine(
    qemu: list[str],
    runtime: Path,
    program: Path,
    bundle: Bundle,
    entries: list[str],
    choices: dict[str, object],
) -> None:
    """Equal as two instruction sets of one machine are: but for sums' last bits and the codes they flip."""
    command = [*qemu, program, runtime, bundle.path, *entries, *TOKENS]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logits = np.array([float(line.split()[1]) for line in done.stdout.splitlines()], np.float32)
    session = bundle.session(threads=1, **choices)  # type: ignore[arg-type]
    here = session.run(["logits"], first_step(session, np.array([TOKENS])))[0][0, -1]
    if choices.get("mode") == "exact":
        np.testing.assert_allclose(logits, here, rtol=0, atol=1e-5 * np.abs(here).max())
    else:
        assert_mostly_equal(logits, here, share=1.0)
