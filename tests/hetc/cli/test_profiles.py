"""`hetc profiles`: new, check, fit, show and list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import hetc
from measured_devices import measured_devices, written_measurements

from hetc.cli.profile_summary import polynomial
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import built_in_profiles, load_profile
from hetc.runtimes.reference.noise import sigma


@pytest.mark.parametrize("like", built_in_profiles())
def test_a_new_profile_checks_and_equals_what_it_is_like(tmp_path: Path, like: str) -> None:
    made = hetc("profiles", "new", "mine", "--like", like, cwd=tmp_path)
    assert made.returncode == 0 and "next: hetc profiles check mine.toml" in made.stderr
    start, mine = load_profile(like), load_profile(tmp_path / "mine.toml")
    assert replace(mine, name=like, noise=replace(mine.noise, name=start.noise.name)) == start
    assert (mine.name, mine.noise.name) == ("mine", "mine")
    checked = hetc("profiles", "check", tmp_path / "mine.toml")
    assert checked.returncode == 0 and checked.stdout.startswith("profile     mine: ok")
    again = hetc("profiles", "new", "mine", cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr


def test_check_says_what_a_profile_comes_to(tmp_path: Path) -> None:
    said = hetc("profiles", "check", "pcm-512").stdout
    assert "sigma(r)    0.01054 + 0.0786 r - 0.04692 r^2" in said
    assert "8 bit: 255 levels over +-10 range x weight scale, a step of 0.0787" in said
    device = next(line for line in said.splitlines() if line.startswith("sigma of a device"))
    assert device.split()[-8:] == ["1.05", "1.44", "1.79", "2.44", "2.99", "3.81", "4.31", "4.22"]
    day = next(line for line in said.splitlines() if "after 1 d" in line)
    assert float(day.split()[-1]) == pytest.approx(100 * (86420 / 20) ** -0.049, abs=0.5)
    (tmp_path / "mine.toml").write_text(
        'name = "x"\n[converters]\ndac_bits = 0\n[noise]\nmodel = "gaussian"\n[tile]\nrows = 7\n'
    )
    said = hetc("profiles", "check", tmp_path / "mine.toml").stdout
    assert "tile        7 inputs" in said and "DAC         none" in said and "none is known" in said


def test_check_as_json() -> None:
    data = json.loads(hetc("profiles", "check", "hermes-256", "--json").stdout)
    assert data["name"] == "hermes-256" and data["times"][0] == 0
    assert np.shape(data["mean"]) == np.shape(data["deviation"]) == (len(data["times"]), len(data["r"]))
    expected = sigma(np.array(data["r"]), NOISE_MODELS["hermes"].sigma)
    np.testing.assert_allclose(data["sigma"], expected)


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_bad_profile_is_one_error(tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.toml").write_text('name = "x"\n[tile]\nrows = 0\n')
    done = hetc("profiles", command, tmp_path / "bad.toml")
    assert done.returncode == 3 and done.stdout == ""
    assert "tile.rows is 0; it must be a whole number from 1 to 1048576" in done.stderr


def test_figures_have_a_known_format(tmp_path: Path) -> None:
    done = hetc("profiles", "check", "pcm-512", "--figure", tmp_path / "x.doc")
    assert done.returncode == 2 and "must end in .svg, .png, .pdf" in done.stderr


def test_fit_writes_a_profile(tmp_path: Path) -> None:
    measured = measured_devices(NOISE_MODELS["pcm"], times=(0, 86400), seed=1)
    table = written_measurements(measured, tmp_path / "lab.csv", g_max=25.0)
    choices = ("--unit", "microsiemens", "--g-max", "25", "--like", "hermes-256")
    done = hetc("profiles", "fit", table, *choices, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("R^2 over their levels 0.9", "3000 right after programming", "mean nu", "standard errors"):
        assert words in done.stderr
    fitted = load_profile(tmp_path / "lab.toml")
    assert (fitted.name, fitted.tile_rows, fitted.noise.name) == ("lab", 256, "lab")
    r = np.linspace(0, 1, 11)
    np.testing.assert_allclose(sigma(r, fitted.noise.sigma), sigma(r, NOISE_MODELS["pcm"].sigma), rtol=0.15)
    assert fitted.noise.drift_reference == pytest.approx(20) and fitted.noise.drift_mean
    assert fitted.noise.source == "fitted by hetc to 6000 readings of lab.csv"
    # Into a profile that was there, which keeps all but its noise.
    assert hetc("profiles", "new", "mine", cwd=tmp_path).returncode == 0
    into = (
        "--like",
        "mine.toml",
        "-o",
        "mine.toml",
        "--name",
        "mine",
        "--unit",
        "microsiemens",
        "--g-max",
        "25",
    )
    assert hetc("profiles", "fit", table, *into, cwd=tmp_path).returncode == 2, "needs --force"
    assert hetc("profiles", "fit", table, *into, "--force", cwd=tmp_path).returncode == 0
    mine = load_profile(tmp_path / "mine.toml")
    assert (mine.tile_rows, mine.noise) == (512, replace(fitted.noise, name="mine"))


def test_a_fit_to_readings_of_one_time_has_no_drift(tmp_path: Path) -> None:
    aged = tmp_path / "aged.toml"
    aged.write_text('name = "aged"\n[noise]\nmodel = "pcm"\n[drift]\ntime = 60.0\nflicker_noise = 1.0\n')
    table = written_measurements(measured_devices(NOISE_MODELS["gaussian"]), tmp_path / "lab.csv")
    done = hetc("profiles", "fit", table, "--form", "gaussian", "--degree", 0, "--like", aged, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fitted = load_profile(tmp_path / "lab.toml")
    assert (fitted.drift_time, fitted.flicker_noise, fitted.noise.form) == (0, 0, "gaussian")
    assert fitted.noise.sigma[0] == pytest.approx(0.025, rel=0.05)


def test_a_table_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text("target,read\n0.5,much\n")
    done = hetc("profiles", "fit", "lab.csv", cwd=tmp_path)
    assert done.returncode == 3 and "line 2: read is" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["lab.csv"]


def test_noise_models_are_listed_and_shown(tmp_path: Path) -> None:
    listed = hetc("profiles", "list").stdout
    assert all(f"\n{name:14} noise, {model.form}: " in listed for name, model in NOISE_MODELS.items())
    (tmp_path / "p.toml").write_text('name = "p"\n' + hetc("profiles", "show", "reram_cmo").stdout)
    assert load_profile(tmp_path / "p.toml").noise == NOISE_MODELS["reram_cmo"]
    assert json.loads(hetc("profiles", "show", "pcm", "--json").stdout)["sigma"][0] == 0.26348 / 25
    assert "sigma = [0.0105392, 0.0786, -0.046924]" in hetc("profiles", "show", "pcm-512").stdout


def test_polynomials_as_text() -> None:
    assert polynomial((0.03, 0.02)) == "0.03 + 0.02 r"
    assert polynomial((-0.5, 0.25, 0, -1)) == "- 0.5 + 0.25 r + 0 r^2 - 1 r^3"
    assert polynomial(()) == "0"
