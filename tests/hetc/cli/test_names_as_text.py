"""Names out of models, plans and files reach a terminal as text: no control sequence, no markup."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx_ir as ir
import pytest
from command_line import hetc
from hypothesis import given
from hypothesis import strategies as st
from models import moe_model

from hetc.cli.output import as_lines, as_text, new_console

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e[/b] [red]x[/red] :smile:"


@given(st.text())
def test_any_name_is_printable(name: str) -> None:
    assert as_text(name).isprintable()
    assert as_text(name) == name or not name.isprintable()
    assert as_lines(name).replace("\n", "").replace("\t", "").isprintable()


def test_undecodable_names_can_be_printed() -> None:
    assert as_text(b"a\xff".decode("utf-8", "surrogateescape")) == "a\\udcff"


def test_a_console_prints_strings_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    new_console().print(f"lab {EVIL}")
    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable()
    assert "[/b] [red]x[/red] :smile:" in out


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose nodes have such names, and whose plan has such a profile and reason."""
    folder = tmp_path_factory.mktemp("names")
    model = moe_model(layers=1)
    for number, node in enumerate(model.graph):
        if node.domain == "":
            node.name = f"{number}{EVIL}"
    ir.save(model, folder / "model.onnx")
    path = folder / "out[b].hetc"
    done = hetc("compile", folder / "model.onnx", "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"bundle      {path}" in done.stdout
    return path


def evil_plan(bundle: Path, folder: Path) -> Path:
    data = json.loads((bundle / "plan.json").read_text())
    data["profile"]["name"] = EVIL
    data["profile"]["noise"]["name"] = EVIL
    data["budget"]["score"] = EVIL
    for unit in data["units"]:
        unit["id"] += EVIL
        unit["reason"] += EVIL
        unit["score"] = {EVIL: 1.0}
    finding = {"layer": EVIL, "spelling": EVIL, "raised": False, "reason": EVIL, "node": EVIL}
    data["findings"] = [finding]
    (folder / "plan.json").write_text(json.dumps(data))
    return folder / "plan.json"


@pytest.mark.parametrize("command", ["inspect", "cost", "explain", "explain nothing"])
def test_names_of_a_plan(bundle: Path, tmp_path: Path, command: str) -> None:
    plan = evil_plan(bundle, tmp_path)
    unit = {"explain": ["layers.0.experts.1" + EVIL], "explain nothing": ["nothing" + EVIL]}.get(command, [])
    done = hetc(command.split()[0], plan, *unit)
    assert done.returncode == (2 if "nothing" in command else 0), done.stderr
    for line in (done.stdout + done.stderr).splitlines():
        assert line.isprintable(), line
    assert "\\x1b[2J" in done.stdout + done.stderr or command == "cost"


def test_names_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / f"broken{EVIL.replace('/', '')}"
    shutil.copytree(bundle, broken)
    (broken / "model.onnx").write_bytes(bytes((broken / "model.onnx").stat().st_size))
    for command in (("inspect", bundle), ("-v", "inspect", bundle), ("verify", broken), ("run", broken)):
        done = hetc(*command)
        for line in (done.stdout + done.stderr).splitlines():
            assert line.isprintable(), line


def test_names_of_a_refused_model(tmp_path: Path) -> None:
    """The message quotes the node, and click the option."""
    model = moe_model(layers=1)
    for node in model.graph:
        node.name = f"{node.name}{EVIL}"
    ir.save(model, tmp_path / "model.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x1b[2J" * 100)
    for command in (
        ("inspect", tmp_path / "model.onnx"),
        ("inspect", tmp_path / "broken.onnx"),
        ("inspect", f"no{EVIL}"),
        ("inspect", f"--no{EVIL}"),
        (f"no{EVIL}",),
    ):
        done = hetc(*command)
        assert done.returncode in (0, 2, 3)
        for line in (done.stdout + done.stderr).splitlines():
            assert line.isprintable(), line


def test_a_name_without_end_is_cut() -> None:
    assert as_lines("unit " + "x" * 5000 + " is not there") == "unit " + "x" * 1000 + "... is not there"
