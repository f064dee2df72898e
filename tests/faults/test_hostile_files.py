"""Damaged files of every kind that hetc reads: an error with its documented code, in time, and no trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hostile_files import KINDS, damage, whole_files

FEW = 8
"""Mutants of a kind that are tried in the fast tests."""


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    whole_files(folder)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_some_mutants(given: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(given, tmp_path / "given")
    damage(tmp_path / "given", name, range(FEW))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", KINDS)
def test_ten_thousand_mutants(given: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(given, tmp_path / "given")
    damage(tmp_path / "given", name, range(FEW, 10_000))
