"""Several writers of one output, names that are odd, and standard output that closes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc
from models import saved_moe_model

HETC = [sys.executable, "-m", "hetc"]


def test_of_writers_at_once_one_wins_and_the_others_say_so(tmp_path: Path) -> None:
    command = [*HETC, "compile", str(SAMPLE / "model.onnx"), "-o", "out"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    writers = [subprocess.Popen([*command, "--seed", str(seed)], **pipes) for seed in range(3)]  # type: ignore[call-overload]
    said = [writer.communicate()[1] for writer in writers]
    codes = [writer.returncode for writer in writers]
    assert sorted(codes) == [0, 2, 2], said
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "is being written by another hetc" in text or "exists" in text
    winner = codes.index(0)
    assert f'"seed": {winner}' in (tmp_path / "out" / "plan.json").read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


ODD = [
    "a b",
    "a[/b].hetc",
    "[bold]",
    "-dash",
    "new\nline",
    "escape\x1b[31m",
    "quote'\"",
    "ünïcode",
    ".hidden",
    "$HOME;ls",
    "x" * 240,
    "x" * 255,
]


REPORTED = "a[/b].hetc"
"""The one that is baked and reported on as well, which takes most of the time."""


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    """A bundle of that name is made, opened, baked, and reported on; a terminal sees only text."""
    model = saved_moe_model(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    commands: list[tuple[object, ...]] = [
        ("compile", model, f"--output={name}"),
        ("inspect", "--", name),
        ("explain", "--", name, "layers.0.experts.1"),
    ]
    made = {name.partition("/")[0]}
    if name == REPORTED:
        commands.append(("bake", "--output=baked", "--", name))
        commands.append(("report", "--output=page.html", "--figures=figures", "--", name))
        made |= {"baked", "page.html", "figures"}
    for arguments in commands:
        done = hetc(*arguments, cwd=work)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    assert {entry.name for entry in work.iterdir()} == made


def test_names_that_no_library_opens_are_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfebytes")
    model = saved_moe_model(tmp_path)
    done = hetc("compile", model, "-o", tmp_path / name)
    assert done.returncode == 2 and "isn't UTF-8" in done.stderr
    model.parent.rename(tmp_path / name)
    moved = tmp_path / name / model.name
    done = hetc("calibrate", moved, "--data", SAMPLE / "heldout.npz", "-o", tmp_path / "out")
    assert done.returncode in (2, 3) and "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_known_before_the_work(tmp_path: Path) -> None:
    done = hetc("compile", SAMPLE / "model.onnx", "-o", "x" * 256, cwd=tmp_path)
    assert done.returncode == 6
    assert "File name too long" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere_is_an_output_that_exists(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    done = hetc("compile", SAMPLE / "model.onnx", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2 and "exists" in done.stderr
    done = hetc("compile", SAMPLE / "model.onnx", "-o", "out", "--force", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").is_symlink()


def test_without_a_home_and_in_a_plain_locale(tmp_path: Path) -> None:
    variables = {
        key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME", "LANG")
    }
    variables |= {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [*HETC, "compile", SAMPLE / "model.onnx", "-o", "ünï"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    prompt = [*HETC, "run", "ünï", "--prompt", "# é", "--max-new-tokens", "2"]
    done = subprocess.run(prompt, capture_output=True, check=False, env=variables, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = [*HETC, "inspect", SAMPLE / "model.onnx", "--json"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None and writer.stderr is not None
    writer.stdout.close()
    said = writer.stderr.read().decode()
    assert writer.wait() in (0, 141) and said == ""


def test_the_module_runs() -> None:
    done = subprocess.run([*HETC, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hetc, version")
