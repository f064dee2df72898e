"""The distributions: what is in them, and that pip alone makes, installs and runs them on each Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.metadata import Metadata
from packaging.utils import parse_wheel_filename
from places import ROOT, SAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PYTHONS = [
    line.rpartition(" ")[2]
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
]
# Where in the wheel each source folder lies.
PLACES = {"hetc": "hetc", "passes": "hetc/passes", "runtimes": "hetc/runtimes"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with nothing built in it."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")
    folder = tmp_path_factory.mktemp("clone") / "hetc"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def tracked(clone: Path) -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=clone, check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines())


@pytest.fixture(scope="module")
def sdist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scikit_build_core")
    folder = tmp_path_factory.mktemp("sdist")
    program = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, folder], cwd=clone, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz"))


def pip(folder: Path, *arguments: object, python: str = sys.executable) -> None:
    """pip of a new environment in `folder`, which is made by `python`."""
    if not folder.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    done = subprocess.run(
        [folder / "bin/python", "-m", "pip", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=without_python_path(),
    )
    unreachable = "Temporary failure in name resolution", "Failed to establish a new connection"
    if any(words in done.stderr + done.stdout for words in unreachable):
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr


def without_python_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(folder / "environment", "wheel", "--no-deps", "-w", folder, sdist)
    return next(folder.glob("*.whl"))


def test_sdist_has_the_checkout_less_its_dot_files(sdist: Path, tracked: set[str]) -> None:
    with tarfile.open(sdist) as archive:
        names = {one.name.partition("/")[2] for one in archive if not one.isdir()}
    assert names == {name for name in tracked if not name.startswith(".")} | {"PKG-INFO"}


def test_wheel_has_the_package_and_its_library(wheel: Path, tracked: set[str]) -> None:
    expected = {
        f"{PLACES[top]}/{rest}"
        for top, _, rest in (name.partition("/") for name in tracked)
        if top in PLACES and "/csrc/" not in rest
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licence = next(name for name in archive.namelist() if name.endswith("licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    libraries = names - expected
    assert expected <= names
    assert len(libraries) == 1
    assert PurePosixPath(*libraries).parent.as_posix() == "hetc/runtimes/onnxruntime"
    assert {"hetc/py.typed", "hetc/plan/plan.schema.json", "hetc/hardware/profiles/pcm-512.toml"} <= names


def test_one_wheel_is_for_every_python(wheel: Path) -> None:
    name, _, _, tags = parse_wheel_filename(wheel.name)
    assert name == "hetc"
    assert {(tag.interpreter, tag.abi) for tag in tags} == {("py3", "none")}
    assert all(tag.platform != "any" for tag in tags)


def test_metadata_is_valid(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA")))
    metadata = Metadata.from_email(raw, validate=True)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description == (ROOT / "README.md").read_text()


def interpreter(version: str) -> str:
    """A Python of this version; pyenv's need not be on the PATH."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    found = [
        *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
        *filter(None, [shutil.which(f"python{version}")]),
    ]
    if not found:
        pytest.skip(f"no Python {version}")
    return str(found[0])


@pytest.mark.parametrize("version", PYTHONS)
def test_the_sample_compiles_and_runs_from_a_wheel(version: str, wheel: Path, tmp_path: Path) -> None:
    """In a new environment that has nothing else, from a folder that isn't the checkout."""
    environment = tmp_path / "environment"
    pip(environment, "install", wheel, python=interpreter(version))

    def hetc(*arguments: object) -> str:
        done = subprocess.run(
            [environment / "bin/hetc", *map(str, arguments)],
            cwd=tmp_path,
            env=without_python_path(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = SAMPLES / "tiny_moe/model.onnx"
    hetc("compile", model, "--digital-frac", "0.25")
    verified = hetc("verify", "tiny_moe.hetc", "--source", model)
    assert "48 AnalogExpert, all by the library's kernels" in verified
    text = hetc("run", "tiny_moe.hetc", "--prompt", "class Reader:", "--max-new-tokens", "16")
    assert text.startswith("class Reader:")
