"""What a user imports: every public name is there, says what it does, and its example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

import hetc

SLOW = ("evaluate", "export", "open_adaptive", "tune")
"""Functions whose examples take seconds."""

FUNCTIONS = [name for name in hetc.__all__ if name[0].islower() and not name.startswith("_")]


def modules() -> Iterator[str]:
    """Every module, by the name that it has where hetc is installed."""
    for folder, package in (("hetc", ()), ("passes", ("hetc",)), ("runtimes", ("hetc",))):
        for file in (ROOT / folder).rglob("*.py"):
            parts = (*package, *file.relative_to(ROOT).with_suffix("").parts)
            if parts[-1] != "__main__":
                yield ".".join(parts).removesuffix(".__init__")


def test_names_are_listed() -> None:
    assert set(hetc.__all__) <= set(dir(hetc))
    wanted = "compile export calibrate score tune verify evaluate sweep mitigate cost report bake_bundle"
    wanted += " partition_bundle load_bundle load_profile Plan Profile Bundle"
    assert set(wanted.split()) <= set(hetc.__all__)


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_listed_name_imports(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", ()):
        assert getattr(loaded, name) is not None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name: str) -> None:
    function = getattr(hetc, name)
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters
    assert not parameters or ("Raises:" in text and "Args:" in text), name
    for parameter, details in parameters.items():
        assert f"    {parameter}" in text or details.kind is details.VAR_KEYWORD, f"{name}: {parameter}"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FUNCTIONS]
)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder(recurse=False).find(getattr(hetc, name), name, globs={})
    examples = [one for one in found if one.examples]
    assert examples, f"hetc.{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        assert runner.run(example).failed == 0


def test_nothing_is_loaded_before_it_is_used() -> None:
    program = "import sys, hetc; print({'onnx', 'numpy', 'torch', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


def test_the_package_runs() -> None:
    said = subprocess.check_output([sys.executable, "-m", "hetc", "--version"], text=True)
    assert hetc.__version__ in said


@pytest.mark.parametrize("value", [hetc.load_profile("pcm-512")])
def test_reprs_are_short(value: Any) -> None:
    assert len(repr(value)) < 100
