"""Plans whose numbers contradict each other are refused by key, and none makes a command run without end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import hetc
from models import moe_model

from hetc.base.errors import InvalidInputError
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.plan.plan import Plan


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    make_plan(load_model(moe_model()), Placement(), Profile()).save(path)
    return path


def changed(plan: Path, folder: Path, **values: Any) -> Path:
    """The plan with values changed: of its first expert, or `model_parameters` of the whole."""
    data = json.loads(plan.read_text())
    expert = next(unit for unit in data["units"] if unit["kind"] == "expert")
    for key, value in values.items():
        (data if key == "model_parameters" else expert)[key] = value
    (folder / "plan.json").write_text(json.dumps(data))
    return folder / "plan.json"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_parameters", 10, r"model_parameters is 10; it must be at least \d+"),
        ("parameters", 10**9, "model_parameters is"),
        ("id", "layers.1.experts.1", "units.* 'layers.1.experts.1' is there twice"),
        ("rank", 4, "rank is 4; it must be less than group_size, 4"),
        ("group_size", 10**15, "group_size is 1000000000000000; the plan has"),
        ("expert", 20_000_000, r"expert is 20000000; it must be at most 65535"),
        ("expert", -1, r"expert is -1; it must be at least 0"),
        ("layer", 2**40, r"layer is .*; it must be at most 65535"),
    ],
)
def test_numbers_that_contradict_each_other(
    plan: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Plan.load(changed(plan, tmp_path, **{key: value}))


@pytest.mark.parametrize("command", ["inspect", "cost", "report"])
def test_the_largest_index_ends(plan: Path, tmp_path: Path, command: str) -> None:
    path = changed(plan, tmp_path, expert=65535, layer=65535)
    output = ("-o", tmp_path / "page.html") if command == "report" else ()
    done = hetc(command, path, *output)
    assert done.returncode == 0, done.stderr


def test_a_matrix_of_any_size_ends(plan: Path, tmp_path: Path) -> None:
    data = json.loads(plan.read_text())
    data["profile"]["tile_rows"] = 1
    for unit in data["units"]:
        for matrix in unit["matrices"]:
            matrix["inputs"] = 10**15
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    for command in (("inspect", path), ("cost", path), ("report", path, "-o", tmp_path / "page.html")):
        done = hetc(*command)
        assert done.returncode in (0, 3), done.stderr
