"""Every kind of file that hetc reads, how it is damaged, and which commands read it."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from command_line import SAMPLE, hetc
from models import saved_moe_model
from mutants import Mutate, mutate_bytes, mutate_json, mutate_safetensors, mutate_toml

__all__ = ["KINDS", "damage", "whole_files"]

DOCUMENTED = (0, 2, 3, 4, 5, 6)
SECONDS = 30
"""The longest that a command on these small files may take, whatever is in them."""


ONE_ANALOG = "--digital-frac 1 --analog layers.0.experts.0"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        file: The file that is damaged, in the folder of `given`.
        mutate: How.
        commands: What reads it; the later ones only what the first one takes.
    """

    file: str
    mutate: Mutate
    commands: tuple[str, ...]


KINDS = {
    "plan": Kind(
        "plan.json",
        mutate_json,
        (
            "inspect plan.json",
            "cost plan.json",
            "report plan.json -o out.html",
            "compile model/model.onnx --plan plan.json -o out",
        ),
    ),
    "manifest": Kind("bundle/manifest.json", mutate_json, ("inspect bundle", "verify bundle")),
    "profile": Kind(
        "profile.toml",
        mutate_toml,
        (
            "profiles show profile.toml",
            "profiles check profile.toml",
            "compile model/model.onnx --profile profile.toml --dry-run",
        ),
    ),
    "costs": Kind("costs.toml", mutate_toml, ("cost plan.json --costs costs.toml",)),
    "scores": Kind(
        "scores.safetensors",
        mutate_safetensors,
        ("compile model/model.onnx --score mine --scores scores.safetensors --dry-run",),
    ),
    "calibration": Kind(
        "calibration.safetensors",
        mutate_safetensors,
        ("compile model/model.onnx --calibration calibration.safetensors --dry-run",),
    ),
    "tokens": Kind(
        "tokens.npz", mutate_bytes, ("calibrate language/model.onnx --data tokens.npz --window 32 -o out",)
    ),
    "results": Kind("results.csv", mutate_bytes, ("report plan.json --results results.csv -o out.html",)),
    "measurements": Kind("measured.csv", mutate_bytes, ("profiles fit measured.csv -o out",)),
    "conductances": Kind(
        "measured/layers.0.experts.0.safetensors",
        mutate_safetensors,
        (f"compile model/model.onnx {ONE_ANALOG} --conductances measured -o out",),
    ),
    "aihwkit": Kind("aihwkit.json", mutate_json, ("profiles from-aihwkit aihwkit.json",)),
    "tokenizer": Kind(
        "language/tokenizer.json", mutate_json, ("tokens text.txt --tokenizer language -o out.npz",)
    ),
}


def whole_files(folder: Path) -> None:
    """Fills a folder with a whole file of every kind."""
    from hetc.hardware.profile import load_profile
    from hetc.hardware.profile_toml import to_toml
    from hetc.model.load import sha256
    from hetc.plan.calibration import Calibration, Routing, Statistics
    from hetc.plan.plan import Plan
    from hetc.plan.scores import Scores

    saved_moe_model(folder)
    done = hetc("compile", "model/model.onnx", "-o", "bundle", cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copy(folder / "bundle" / "plan.json", folder / "plan.json")
    units = Plan.load(folder / "plan.json").units
    Scores({"mine": {unit.id: 1.0 for unit in units if unit.kind == "expert"}}).save(
        folder / "scores.safetensors"
    )
    own = load_profile("pcm-512")
    own = replace(own, noise=replace(own.noise, name="mine", floor=0.01))
    (folder / "profile.toml").write_text(to_toml(own))
    text = hetc("profiles", "show", "harp").stdout
    (folder / "costs.toml").write_text(text)
    readings = "0,0.01,20\n0.5,0.4,20\n1,1.1,20\n1,0.9,60\n"
    (folder / "measured.csv").write_text("target,read,time\n" + readings * 3)
    for command in (f"compile model/model.onnx {ONE_ANALOG} -o one", "partition one -o parts --conductances"):
        assert hetc(*command.split(), cwd=folder).returncode == 0
    shutil.move(folder / "parts" / "conductances", folder / "measured")
    for leftover in ("one", "parts"):
        shutil.rmtree(folder / leftover)
    (folder / "language").mkdir()
    for name in ("model.onnx", "model.safetensors", "tokenizer.json"):
        shutil.copy(SAMPLE / name, folder / "language")
    np.savez(folder / "tokens.npz", tokens=np.arange(64))
    recorded = Calibration(sha256(folder / "model" / "model.onnx"), 512, tokens=9)
    for unit in units:
        if unit.kind == "expert":
            recorded.routing[unit.id] = Routing(3, 5)
            for site in ("in", "mid"):
                recorded.statistics[unit.id, site] = [Statistics(2, 3, 7, 9, Counter({0x3F80: 3}))]
    recorded.save(folder / "calibration.safetensors")
    (folder / "results.csv").write_text(
        "fraction,score,seed,noise_scale,task,metric,value,model_sha256\n"
        f"0.25,maxnn,0,1,held,loss,2.5,{sha256(folder / 'model' / 'model.onnx')}\n"
    )
    forward = {"is_perfect": False, "inp_res": 254, "out_res": 254, "out_bound": 12.0, "out_noise": 0.06}
    device = {"class": "PCMLikeNoiseModel", "prog_coeff": [0.2, 1]}
    record = {"forward": forward, "mapping": {"max_input_size": 512}, "noise_model": device}
    (folder / "aihwkit.json").write_text(json.dumps(record))
    (folder / "text.txt").write_text("import os\n")
    for kind in KINDS.values():
        for command in kind.commands:
            done = hetc(*command.split(), cwd=folder)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            remove_outputs(folder)


def remove_outputs(folder: Path) -> None:
    """Removes what the commands make."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    for name in ("out", "out.html", "out.npz"):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def in_time() -> Iterator[None]:
    """Fails where a command hangs."""

    def hang(number: int, frame: Any) -> None:
        raise AssertionError(f"it hangs: over {SECONDS} s")

    earlier = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def damage(folder: Path, name: str, seeds: range) -> Counter[int]:
    """Runs the commands of a kind on one mutant after the other.

    Args:
        folder: From `whole_files`; its file of that kind is damaged, and whole again afterwards.
        name: One of `KINDS`.
        seeds: One mutant each.

    Returns:
        How many mutants ended with which exit code.

    Raises:
        AssertionError: One was not as it should be; the message says how to see it again.
    """
    codes: Counter[int] = Counter()
    kind = KINDS[name]
    file = folder / kind.file
    whole = file.read_bytes()
    entries = sorted(folder.rglob("*"))
    try:
        for seed in seeds:
            file.write_bytes(kind.mutate(whole, random.Random(f"{name} {seed}")))
            for command in kind.commands:
                with in_time():
                    done = hetc(*command.split(), cwd=folder)
                said = f"{name}, seed {seed}, hetc {command}: {done.stderr[-5000:]}"
                _check(done.returncode, said)
                if done.returncode == 0:
                    remove_outputs(folder)
                assert sorted(folder.rglob("*")) == entries, said
                if done.returncode:
                    break
            codes[done.returncode] += 1
    finally:
        file.write_bytes(whole)
    return codes


def _check(code: int, said: str) -> None:
    assert code in DOCUMENTED, said
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert code == 0 or said.count("\nerror:") + said.count(": error:") == 1, said
