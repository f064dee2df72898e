"""Values that are empty, endless or of another type: one rule for every command and for Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import SAMPLE, hetc

import hetc as package
from hetc.base.errors import InvalidInputError, UsageError

MODEL = SAMPLE / "model.onnx"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("compile", MODEL, "--profile", "", "--dry-run"), "is a folder"),
        (("cost", MODEL, "--costs", ""), "is a folder"),
        (("cost", MODEL, "--batch", 10**23), "at most 1048576 sequences"),
        (("cost", MODEL, "--context", 10**200), "at most 1048576 sequences"),
        (("compile", MODEL, "--budget", "energy:2mJ", "--batch", 10**23, "--dry-run"), "at most 1048576"),
    ],
)
def test_commands(command: tuple[object, ...], message: str) -> None:
    done = hetc(*command)
    assert done.returncode in (2, 3) and message in done.stderr, done.stderr


@pytest.mark.parametrize("seed", [-1, 2**63, 3.5, True, "3"])
def test_seeds_are_whole_numbers_everywhere(tmp_path: Path, seed: object) -> None:
    with pytest.raises(UsageError, match="is not a whole number in 0"):
        package.compile(MODEL, tmp_path / "out", seed=seed)
    torch = pytest.importorskip("torch")
    assert torch
    with pytest.raises(UsageError, match="is not a whole number in 0"):
        package.score(SAMPLE, SAMPLE / "calibration.npz", seed=seed)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_is_nothing_is_not_the_default(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a folder"):
        package.compile(MODEL, tmp_path / "out", profile="")


def test_one_pattern_need_not_be_a_list(tmp_path: Path) -> None:
    made = package.compile(MODEL, tmp_path / "out", analog="layers.*.attention")
    assert {unit.target for unit in made.plan.units if unit.kind == "attention"} == {"analog"}
