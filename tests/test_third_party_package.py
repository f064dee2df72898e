"""A package of somebody else adds a score, a noise model and a spelling, without a line in hetc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from places import SAMPLES, TESTS

from hetc.base import plugins
from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import load_profile
from hetc.passes.spellings import SPELLINGS, known_spellings


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed into, built as its author would."""
    folder = tmp_path_factory.mktemp("plugin")
    source = folder / "source"
    subprocess.run(["cp", "-r", TESTS / "plugin", source], check=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *options, source], check=True)
    return folder / "site"


def hetc(installed: Path, *arguments: object) -> str:
    """What the command says on stdout, with the package on the path."""
    return subprocess.run(
        [sys.executable, "-m", "hetc", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_score_and_a_noise_model(installed: Path) -> None:
    model, options = SAMPLES / "tiny_moe/model.onnx", ["--score", "last-first", "--noise", "quiet"]
    plan = json.loads(hetc(installed, "compile", model, *options, "--dry-run", "--json"))
    assert plan["profile"]["noise"]["name"] == "quiet" and plan["profile"]["noise"]["sigma"] == [0.001]
    digital = {u["expert"] for u in plan["units"] if u["kind"] == "expert" and u["target"] == "digital"}
    assert digital == {12, 13, 14, 15}


def mixture() -> ir.Model:
    """`x [T, 8]` through a Mixture of four experts that a TopK chooses from."""
    random = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> ir.Value:
        numbers = random.standard_normal(shape).astype(np.float32)
        return ir.val(name, const_value=ir.tensor(numbers, name=name))

    x = ir.val("x", ir.DataType.FLOAT, ["T", 8])
    router, count = constant("router", 8, 4), ir.val("k", const_value=ir.tensor([2], name="k"))
    logits = ir.node("MatMul", [x, router])
    chosen = ir.node("TopK", [logits.outputs[0], count], num_outputs=2)
    shapes = {"up": (6, 8), "down": (8, 6)}
    weights = [constant(f"layers.0.{e}.{name}", *shapes[name]) for e in range(4) for name in shapes]
    layer = ir.node("Mixture", [x, chosen.outputs[1], chosen.outputs[0], *weights], domain="example")
    y = layer.outputs[0]
    y.name, y.type, y.shape = "y", x.type, x.shape
    opsets = {"": 18, "example": 1}
    nodes, constants = [logits, chosen, layer], [router, count, *weights]
    graph = ir.Graph([x], [y], nodes=nodes, initializers=constants, opset_imports=opsets, name="m")
    return ir.Model(graph, ir_version=10)


def test_a_spelling(installed: Path, tmp_path: Path) -> None:
    ir.save(mixture(), tmp_path / "model.onnx")
    found = json.loads(hetc(installed, "inspect", tmp_path / "model.onnx", "--json"))
    assert [(one["spelling"], one["raised"]) for one in found["findings"]] == [("example::Mixture", True)]
    assert sum(unit["kind"] == "expert" for unit in found["units"]) == 4


def test_without_the_package_nothing_is_known_of_it() -> None:
    assert known_spellings() == SPELLINGS
    with pytest.raises(UsageError, match="'quiet' is not known"):
        load_profile("pcm-512").with_noise("quiet", None)


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, module, dist = "broken", "nowhere", None

        def load(self) -> None:
            raise ImportError("no module named nowhere")

    monkeypatch.setattr(plugins, "entry_points", lambda group: [Entry()])
    plugins.load_plugins.cache_clear()
    try:
        with pytest.raises(InvalidInputError, match="'broken' of package nowhere cannot be loaded"):
            plugins.load_plugins("hetc.scores")
    finally:
        plugins.load_plugins.cache_clear()
