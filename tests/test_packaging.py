"""What the project says of itself outside pyproject.toml says the same."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from places import ROOT

from hetc.base.version import __version__

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == __version__
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f'version = "{__version__}"' in (ROOT / "conda/meta.yaml").read_text()


def test_conda_needs_what_pip_needs() -> None:
    recipe = (ROOT / "conda/meta.yaml").read_text()
    run = recipe.partition("  run:\n")[2].partition("\n\n")[0]
    found = dict(re.findall(r"    - (\S+) (>=\S+)", run))
    wanted = {one.name: str(one.specifier) for one in map(Requirement, PROJECT["dependencies"])}
    assert found == wanted


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_the_make_target_of_their_name(workflow: Path) -> None:
    text = workflow.read_text()
    assert f"- run: make {workflow.stem}\n" in text
    assert re.search(rf"^{workflow.stem}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_tested_pythons_are_those_of_the_classifiers() -> None:
    listed = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    matrix = re.search(r"python: (\[.*\])", (ROOT / ".github/workflows/test.yml").read_text())
    assert matrix and json.loads(matrix[1]) == listed
    assert PROJECT["requires-python"] == f">={listed[0]}"


def test_entry_points_lead_somewhere() -> None:
    pytest.importorskip("lm_eval")
    from hetc.evaluation import lm_eval_model

    assert PROJECT["entry-points"]["lm_eval.models"]["hetc"] == "hetc.evaluation.lm_eval_model:HetcModel"
    assert lm_eval_model.HetcModel.__name__ == "HetcModel"
