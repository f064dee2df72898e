"""The five jobs of samples/jobs: each runs as it is typed, in at most eight commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = sorted((Path(__file__).parents[2] / "samples" / "jobs").iterdir())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_is_short(job: Path) -> None:
    lines = job.read_text("utf-8").splitlines()
    commands = [line for line in lines if line.startswith(("hetc ", "make ", "./"))]
    assert 4 <= len(commands) <= 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_runs(job: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [job, tmp_path / "out"], capture_output=True, text=True, env=environment, timeout=1100, check=False
    )
    assert done.returncode == 0, done.stderr
