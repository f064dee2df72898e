"""A disk that is full or read-only at any operation, a kill at any: outputs are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_faults import COMMANDS, FULL, KILL, READ_ONLY, build_failing_disk, try_command, whole_inputs

FEW = 16
"""Operations that are tried for each command in the fast tests, spread over all."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_failing_disk(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return whole_inputs(tmp_path_factory.mktemp("given"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("error", [FULL, READ_ONLY, KILL], ids=["full", "read-only", "killed"])
def test_at_every_operation(
    library: Path, tmp_path: Path, given: dict[str, str], name: str, error: int
) -> None:
    every = 7 if name.startswith("calibrate") else 1  # hundreds of kernels write a line each
    tries = try_command(library, tmp_path, given, error, name, every=every)
    assert len(tries.tries) > 3
    assert tries.faults(killed=error == KILL) == []


@pytest.mark.parametrize("name", ["compile --force"])
@pytest.mark.parametrize("error", [FULL, pytest.param(KILL, marks=pytest.mark.slow)], ids=["full", "killed"])
def test_at_some_operations(
    library: Path, tmp_path: Path, given: dict[str, str], name: str, error: int
) -> None:
    tries = try_command(library, tmp_path, given, error, name, every=FEW)
    assert len(tries.tries) >= 2
    assert tries.faults(killed=error == KILL) == []
