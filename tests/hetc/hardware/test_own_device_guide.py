"""docs/own-device.md does what it says: its blocks run one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import hetc
from places import ROOT, SAMPLES

from hetc.bundle.bundle import load_bundle
from hetc.hardware.profile import load_profile
from hetc.model.inputs import first_step
from hetc.runtimes.reference.noise import sigma

GUIDE = (ROOT / "docs" / "own-device.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)


def run_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch, *, bundles: bool) -> None:
    monkeypatch.chdir(folder)
    (folder / "samples").symlink_to(SAMPLES)
    for kind, text in BLOCKS:
        if kind == "python":
            exec(text, {})
        elif kind == "toml":
            (folder / "simple.toml").write_text(text)
            assert hetc("profiles", "check", "simple.toml").returncode == 0
        else:
            for line in text.replace("\\\n", " ").splitlines():
                _, *arguments = shlex.split(line)
                if arguments[0] == "profiles" or bundles:
                    done = hetc(*arguments)
                    assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "toml", "python"}
    run_blocks(tmp_path, monkeypatch, bundles=False)
    r = np.linspace(0, 1, 5)
    simple = load_profile(tmp_path / "simple.toml").noise
    assert simple.form == "gaussian"
    np.testing.assert_allclose(sigma(r, simple.sigma), 0.03 + 0.02 * r)
    fitted = load_profile(tmp_path / "fitted.toml").noise
    np.testing.assert_allclose(sigma(r, fitted.sigma), 0.4 / 25 + 0.03 * r, rtol=0.05)
    assert fitted.drift_reference == 20 and fitted.form == "differential-pair"


@pytest.mark.slow
def test_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_blocks(tmp_path, monkeypatch, bundles=True)
    own, chip = load_bundle(tmp_path / "lab.hetc"), load_bundle(tmp_path / "chip.hetc")
    assert chip.plan.conductances is not None
    session = own.session(noise_scale=0.0)
    inputs = first_step(session, np.arange(8)[None], own.path)
    expected = session.run(None, inputs)[0]
    np.testing.assert_array_equal(chip.session().run(None, inputs)[0], expected)
