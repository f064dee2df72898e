"""README.md works as it is typed: its shell lines and its Python run, in their order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from code_blocks import Block, code_blocks
from places import ROOT, SAMPLES

from hetc.cli.main import COMMANDS

README = ROOT / "README.md"
NOT_HERE = (
    "git clone ADDRESS-OF-THIS-REPOSITORY hetc && cd hetc",
    "make demo",
    "source .venv/bin/activate",
    "pip install '.[export,evaluate,sweep,report]'",
    "hf download allenai/OLMoE-1B-7B-0924 --local-dir CHECKPOINT",
)
"""Lines that don't run here: they make the environment that the tests run in, or need the network."""
SAID_HERE = {
    "cuda:0,cuda:1": "cpu",
    "--device cuda": "--device cpu",
    'device = "cuda"': 'device = "cpu"',
    "seeds = 4": "seeds = 1",
    "--max-drop 1%": "--max-drop 1% --seeds 2",
}
"""What the README says to who has GPUs and time, and what stands for it here."""


def lines_of(block: Block) -> list[str]:
    """What to type, without comments behind commands; lines that go on are one."""
    text = re.sub(r"\\\n\s*", "", block.text)
    return [re.sub(r"\s+# .*$", "", line) for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader is, with the files that the README takes for granted."""
    (tmp_path / "samples").symlink_to(SAMPLES)
    (tmp_path / "CHECKPOINT").symlink_to(SAMPLES / "tiny_moe")
    (tmp_path / "text.txt").write_text(Path(__file__).read_text("utf-8")[:2000], "utf-8")
    (tmp_path / "heldout.txt").write_text(Path(__file__).read_text("utf-8")[2000:4000], "utf-8")
    random = np.random.default_rng(0)
    target = 2.5 * random.integers(0, 11, 4000)
    read = np.maximum(0, target + (0.4 + 0.03 * target) * random.standard_normal(4000))
    rows = [np.transpose([target, read * (t / 20) ** -0.05, np.full(4000, t)]) for t in (20, 3600)]
    table = {"header": "target,read,time", "comments": "", "delimiter": ","}
    np.savetxt(tmp_path / "measured.csv", np.concatenate(rows), "%.6g", **table)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def follow(blocks: list[Block]) -> None:
    """Types the shell lines, runs the Python, and looks for each line that the README says is printed."""
    names: dict[str, object] = {}
    printed = ""
    for block in blocks:
        if block.language == "sh":
            script = "\n".join(line for line in lines_of(block) if line not in NOT_HERE)
            for said, here in SAID_HERE.items():
                script = script.replace(said, here)
            assert "&&" not in script  # bash goes on after a failure before it
            done = subprocess.run(
                ["bash", "-euxo", "pipefail", "-c", script], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            printed = done.stdout
        elif block.language == "python":
            exec(block.text, names)
        elif block.language == "text":
            lines = [line.rstrip() for line in printed.splitlines()]
            assert [line for line in block.text.splitlines() if line not in lines] == []
        else:
            pytest.fail(f"nothing is known of blocks of {block.language!r}:\n{block.text}")


@pytest.mark.slow
def test_the_first_job_runs(folder: Path) -> None:
    first = [block for block in code_blocks(README) if block.heading == "A first job"]
    assert [block.language for block in first] == ["sh", "text", "python"]
    assert len(lines_of(first[0])) == 5
    follow(first[:2])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_line_and_the_python_run(folder: Path) -> None:
    pytest.importorskip("transformers")
    follow(code_blocks(README))


def test_nothing_is_left_out_that_is_not_there() -> None:
    lines = {line for block in code_blocks(README) for line in lines_of(block)}
    text = README.read_text("utf-8")
    assert [line for line in NOT_HERE if line not in lines] == []
    assert [said for said in SAID_HERE if said not in text] == []


@pytest.mark.parametrize("line", ["hetc nothing", "false | cat", "false && true"])
def test_a_line_that_fails_is_a_failure(line: str, folder: Path) -> None:
    with pytest.raises(AssertionError):
        follow([Block("", "sh", line)])


def test_it_is_short_and_names_every_command() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) < 200
    assert sorted(re.findall(r"^\| `hetc (\w+)`", text, re.MULTILINE)) == sorted(COMMANDS)
