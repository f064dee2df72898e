"""The figure of a profile, and the curves that it draws."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chart_text import labels_of
from command_line import hetc

from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.reporting.device_curves import convert, device_curves, duration
from hetc.reporting.figure import PAGE, page_svg, save_figure
from hetc.reporting.profile_figure import profile_figure
from hetc.runtimes.reference.noise import sigma


def test_curves_are_those_of_the_devices() -> None:
    r = np.array([0.0, 0.25, 1.0])
    curves = device_curves(Profile(noise=NOISE_MODELS["gaussian"], noise_scale=2.0), r)
    np.testing.assert_allclose(curves.sigma, [0.05] * 3)
    np.testing.assert_allclose(curves.deviation, [[0.05] * 3], rtol=1e-6)
    np.testing.assert_allclose(curves.mean, [r], atol=1e-7)
    assert curves.times == (0.0,)
    wan = Profile(noise=NOISE_MODELS["reram_wan2022"], drift_time=86400.0)
    curves = device_curves(wan, r)
    assert curves.times == (0.0, 1.0, 86400.0, 172800.0)
    np.testing.assert_allclose(curves.sigma, sigma(r, wan.noise.sigma[:5]))
    assert curves.deviation[2, 1] > 1.5 * curves.deviation[1, 1]


def test_converters_are_those_of_docs_operators() -> None:
    values = np.array([-2.0, -1.0, -0.4, 0.0, 0.49 / 127, 0.51 / 127, 1.0, 1.01])
    np.testing.assert_allclose(convert(values, 8) * 127, [-127, -127, -51, 0, 0, 1, 127, 127])
    np.testing.assert_array_equal(convert(values, 0), values)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (90, "1.5 min"), (7200, "2 h"), (86400, "1 d"), (3.2e7, "370 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("hetc.reporting.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = hetc("profiles", "check", "pcm-512", "--figure", tmp_path / "out.svg")
    assert done.returncode == 5 and ".[report]" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_figure_is_written_whole(tmp_path: Path) -> None:
    figure = tmp_path / "out.svg"
    done = hetc("profiles", "check", "hermes-256", "--figure", figure)
    assert done.returncode == 0, done.stderr
    written = figure.read_bytes()
    assert hetc("profiles", "check", "hermes-256", "--figure", figure).returncode == 2, "needs --force"
    assert figure.read_bytes() == written


@pytest.mark.parametrize("model", ["none", "pcm", "reram_wan2022"])
def test_every_kind_of_profile_is_drawn(model: str) -> None:
    profile = replace(Profile(name=model, noise=NOISE_MODELS[model]), adc_bits=0)
    figure = profile_figure(profile)
    words = [label.text for label in labels_of(page_svg(figure, PAGE, salt=""))]
    assert {model, f"noise: {model}", "drift", "converters", "DAC, 8 bit", "no ADC"} <= set(words)
    assert ("no drift is known" in words) == (model == "none")
    curves = device_curves(profile, np.array([row[0] for row in figure.rows]))
    assert [row[2] for row in figure.rows] == curves.deviation[0].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_profile_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("first", "second"):
        save_figure(profile_figure(Profile()), {kind: tmp_path / name}, PAGE)
    first = (tmp_path / "first").read_bytes()
    assert first[:5] in (b"<?xml", b"\x89PNG\r", b"%PDF-")
    assert (tmp_path / "second").read_bytes() == first
