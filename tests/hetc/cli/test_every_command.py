"""What every command has: -v, -q, --json with documented keys, hints, completion, a function in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from command_line import SAMPLE, hetc, hetc_process
from places import ROOT

import hetc as package
from hetc.base import progress
from hetc.cli.main import COMMANDS
from hetc.cli.main import hetc as group

FUNCTIONS = {
    "bake": ("bake_bundle",),
    "partition": ("partition_bundle",),
    "profiles": ("built_in_profiles", "built_in_costs", "load_profile", "load_costs", "from_aihwkit"),
}
"""Where a command isn't the function of its name."""


def commands(of: click.Group = group, *above: str) -> Iterator[tuple[str, click.Command]]:
    """Every command by the words that call it."""
    context = click.Context(of)
    for name in of.list_commands(context):
        command = of.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


NAMES = [name for name, _ in commands()]


@pytest.mark.parametrize(("name", "command"), commands(), ids=NAMES)
def test_options_that_every_command_has(name: str, command: click.Command) -> None:
    flags = [flag for param in command.params for flag in param.opts]
    assert {"--json", "-v", "--verbose", "-q", "--quiet"} <= set(flags)
    assert len(flags) == len(set(flags))
    assert command.help


def test_every_command_is_a_function() -> None:
    for name in COMMANDS:
        assert set(FUNCTIONS.get(name, (name,))) <= set(package.__all__), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and what some commands start from."""
    folder = tmp_path_factory.mktemp("json")
    done = hetc("compile", SAMPLE / "model.onnx", "-o", folder / "a.hetc", "--digital-frac", "7/8")
    assert done.returncode == 0, done.stderr
    (folder / "text.txt").write_text("def main() -> None:\n    return None\n" * 40)
    (folder / "aihwkit.json").write_text('{"forward": {"is_perfect": true}}')
    rows = [f"{level / 4},{level / 4 + error}" for level in range(5) for error in (-0.01, 0, 0.02)]
    (folder / "measured.csv").write_text("\n".join(["target,read", *rows]) + "\n")
    (folder / "sweep.toml").write_text(
        f'model = "{SAMPLE}/model.onnx"\ndata = "{SAMPLE}/heldout.npz"\nwindow = 64\nwindows = 1\n'
        "fractions = [1]\nseeds = 1\n"
    )
    return folder


CALLS = {
    "bake": "a.hetc -o baked.hetc",
    "calibrate": "SAMPLE --data text.txt --window 64 -o calibration.safetensors",
    "compare": "a.hetc SAMPLE",
    "compile": "SAMPLE --digital-frac 50% -o b.hetc",
    "cost": "a.hetc --digital-frac 15/16",
    "doctor": "",
    "evaluate": "a.hetc --tasks stdlib_next_line --include-path TASKS --limit 1 --mode exact",
    "explain": "a.hetc layers.1.experts.3",
    "export": "SAMPLE -o exported",
    "inspect": "SAMPLE/model.onnx",
    "mitigate": "SAMPLE --data text.txt --window 64 --windows 1 --smooth 50% -o mitigated",
    "partition": "a.hetc -o parts",
    "profiles check": "pcm-512",
    "profiles fit": "measured.csv",
    "profiles from-aihwkit": "aihwkit.json",
    "profiles list": "",
    "profiles new": "own",
    "profiles show": "pcm-512",
    "report": "a.hetc -o page.html",
    "run": "a.hetc --prompt import --max-new-tokens 2 --mode exact",
    "score": "SAMPLE --data text.txt --window 32 --windows 1 -o scores.safetensors",
    "sweep": "sweep.toml -o results.csv --jobs 1",
    "tokens": "text.txt --tokenizer SAMPLE -o text.npz",
    "tune": "a.hetc --data text.txt --window 32 --windows 1 --seeds 2 --max-drop 90%",
    "verify": "a.hetc",
}
NEEDS_TORCH = ("evaluate", "export", "score")
SLOW = ("evaluate", "export")


def documented(name: str) -> set[str]:
    """The keys that the table of docs/command-line.md gives a command first, or those of a plan."""
    page = (ROOT / "docs/command-line.md").read_text()
    found = re.search(rf"^\| `{name}` \| (.*) \|$", page, re.MULTILINE)
    assert found, f"docs/command-line.md says nothing of {name}"
    first = re.split(r"[;:]|each ", found[1])[0]
    return set(re.findall(r"`([a-z_]+)`", first))


def words(name: str, folder: Path) -> list[str]:
    text = CALLS[name].replace("SAMPLE", str(SAMPLE)).replace("TASKS", str(ROOT / "samples/tasks"))
    return [*name.split(), *text.split()]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES]
)
def test_json_has_the_documented_keys_and_numbers(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS_TORCH:
        pytest.importorskip("transformers")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
    # lm-eval's bars are off if nobody has imported tqdm before.
    run = hetc_process if name in SLOW else hetc
    done = run(*words(name, folder), "--json", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    data = json.loads(done.stdout)
    assert data["schema_version"] == 1
    assert documented(name) <= data.keys(), sorted(data)
    for path, text in strings(data):
        assert not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", text) or "budget" in path, (path, text)


def strings(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from strings(value, f"{path}.{key}")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("calibrate", "calibrating"),
        ("mitigate", "smoothing"),
        ("partition", "writing partitions"),
        ("score", "scoring"),
        ("tokens", "tokenising"),
        ("tune", "tuning"),
        ("verify", "programming"),
    ],
)
def test_long_steps_say_how_far_they_are(
    name: str, step: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS_TORCH:
        pytest.importorskip("transformers")
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    force = [] if name in ("verify", "tune") else ["--force"]
    done = hetc(*words(name, folder), *force, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"{step}: 0%" in done.stderr


def test_the_page_lists_every_command() -> None:
    assert set(CALLS) == set(NAMES)


@pytest.mark.parametrize("line", ["-v inspect X", "inspect X -v", "inspect -v X", "-v inspect --verbose X"])
def test_verbose_counts_anywhere(line: str, folder: Path) -> None:
    done = hetc(*line.replace("X", str(SAMPLE / "model.onnx")).split())
    assert done.returncode == 0
    assert "hetc." in done.stderr


@pytest.mark.parametrize("line", ["-q tokens X", "tokens X -q", "tokens --quiet X"])
def test_quiet_counts_anywhere(line: str, folder: Path) -> None:
    rest = f"text.txt --tokenizer {SAMPLE} -o quiet.npz --force"
    assert hetc(*line.replace("X", rest).split(), cwd=folder).stderr == ""
    assert "tokens in quiet.npz" in hetc("tokens", *rest.split(), cwd=folder).stderr


def test_quiet_says_nothing_of_what_is_next(folder: Path) -> None:
    words = ("compile", SAMPLE, "--digital-frac", "1", "-o", folder / "quiet.hetc", "--force")
    assert "next  " in hetc(*words).stdout
    assert "next  " not in hetc(*words, "-q").stdout


def test_both_are_refused() -> None:
    done = hetc("-v", "doctor", "-q")
    assert done.returncode == 2 and "give -v or -q" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("complie", "did you mean compile or compare?"),
        ("veryfi", "did you mean verify?"),
        ("profiles lst", "did you mean list?"),
        ("xyzzy", "there are bake, calibrate"),
    ],
)
def test_nearly_a_command(line: str, said: str) -> None:
    done = hetc(*line.split())
    assert done.returncode == 2 and said in done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("com", "compile"),
        ("profiles sh", "show"),
        ("compile --profile pcm-5", "pcm-512"),
        ("score --noise gau", "gaussian"),
        ("compile --score maxnn-", "maxnn-down-inputs"),
        ("compile --score device-", "device-loss"),
        ("cost --costs a100", "a100+pcm-3d"),
        ("profiles show har", "harp"),
        ("explain BUNDLE layers.1.att", "layers.1.attention"),
        ("run BUNDLE --mode no", "noisy"),
        ("doctor --js", "--json"),
    ],
)
def test_completion(line: str, offered: str, folder: Path) -> None:
    *before, last = line.replace("BUNDLE", str(folder / "a.hetc")).split()
    found = ShellComplete(group, {}, "hetc", "_HETC_COMPLETE").get_completions(before, last)
    assert offered in [item.value for item in found]


def test_completion_of_what_cannot_be_read_offers_nothing(tmp_path: Path) -> None:
    found = ShellComplete(group, {}, "hetc", "_HETC_COMPLETE").get_completions(["explain", "nowhere"], "l")
    assert found == []


def test_text_needs_a_tokenizer_and_says_so(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.symlink_to(SAMPLE / "model.onnx")
    done = hetc("calibrate", model, "--data", folder / "text.txt", "-o", tmp_path / "c.safetensors")
    assert done.returncode == 2
    assert "--tokenizer" in done.stderr and "hetc tokens" in done.stderr
