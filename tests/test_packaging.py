"""What the project says of itself outside pyproject.toml says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from places import ROOT

from hetc.base.version import __version__

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


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
def test_workflows_run_the_make_target_of_their_name_and_nothing_else(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands == [f"make {workflow.stem}"]
    assert re.search(rf"^{workflow.stem}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_tested_pythons_are_those_of_the_classifiers() -> None:
    listed = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == listed
    assert PROJECT["requires-python"] == f">={listed[0]}"
    built = " ".join(f"cp{version.replace('.', '')}-*" for version in listed)
    assert PYPROJECT["tool"]["cibuildwheel"]["build"] == built
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{listed[0].replace('.', '')}"


def test_entry_points_lead_somewhere() -> None:
    pytest.importorskip("lm_eval")
    from hetc.evaluation import lm_eval_model

    assert PROJECT["entry-points"]["lm_eval.models"]["hetc"] == "hetc.evaluation.lm_eval_model:HetcModel"
    assert lm_eval_model.HetcModel.__name__ == "HetcModel"
