"""A fit to devices of a known model gives the model back, within its own standard errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_devices import measured_devices

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.device_fit import fit_device
from hetc.hardware.measurements import Measurements
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.runtimes.reference.aging import curve
from hetc.runtimes.reference.noise import sigma

R = np.linspace(0, 1, 21)
DEGREES = {"pcm": 2, "hermes": 3, "hermes_single": 3, "reram_cmo": 1, "gaussian": 0, "multiplicative": 1}
ONCE = Measurements(np.tile([0.0, 0.5, 1.0], 100), np.tile([0.01, 0.52, 0.97], 100), np.zeros(300))


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(DEGREES)),
    targets=st.sampled_from([None, 6, 11]),
    seed=st.integers(0, 2**32 - 1),
)
def test_sigma_of_built_in_models_comes_back(name: str, targets: int | None, seed: int) -> None:
    model = NOISE_MODELS[name]
    measured = measured_devices(model, targets=targets, seed=seed)
    fit = fit_device(measured, "mine", form=model.form, degree=DEGREES[name])
    off = sigma(R, fit.model.sigma) - sigma(R, model.sigma)
    assert (np.abs(off) <= 6 * fit.standard_error(R) + 1e-6).all()
    assert (fit.standard_error(R)[1:] < 0.15 * sigma(R, model.sigma)[1:]).all(), (
        "an error that says something"
    )
    assert fit.points == 3000 and not fit.drift and not fit.warnings
    assert fit.model.offset == model.offset and fit.model.drift_mean == ()


def test_six_standard_errors_tell_models_apart() -> None:
    fit = fit_device(measured_devices(NOISE_MODELS["pcm"]), "mine")
    for name in ("hermes", "hermes_single"):
        off = np.abs(sigma(R, fit.model.sigma) - sigma(R, NOISE_MODELS[name].sigma))
        assert (off > 6 * fit.standard_error(R)).any()


@pytest.mark.parametrize("name", ["pcm", "hermes", "hermes_single"])
@pytest.mark.parametrize("targets", [None, 11])
def test_drift_comes_back(name: str, targets: int | None) -> None:
    model = NOISE_MODELS[name]
    measured = measured_devices(model, devices=6000, times=(0, 3600, 1e5), targets=targets, seed=3)
    fit = fit_device(measured, "mine", degree=3)
    assert fit.model.drift_reference == pytest.approx(model.drift_reference)
    for level in fit.drift:
        r = np.array(level.r)
        # A level of many targets is held against their mean.
        slack = 0.001 if targets is None else 1e-5
        assert abs(level.mean - curve(r, model.drift_mean)) < 4 * level.error + slack
        assert level.deviation == pytest.approx(float(curve(r, model.drift_deviation)), abs=0.0035)
        assert float(curve(r, fit.model.drift_mean)) == pytest.approx(level.mean)
        assert float(curve(r, fit.model.drift_deviation)) == pytest.approx(level.deviation)
    # Beyond the levels the curve stays as it is.
    assert float(curve(np.array(0.01), fit.model.drift_mean)) == pytest.approx(fit.drift[0].mean)


def test_what_the_cut_at_zero_hides_is_not_lost() -> None:
    measured = measured_devices(NOISE_MODELS["pcm"], targets=3, devices=30_000)
    fit = fit_device(measured, "mine")
    plain = np.sqrt((measured.read[measured.target == 0] ** 2).mean())
    assert fit.model.sigma[0] == pytest.approx(NOISE_MODELS["pcm"].sigma[0], rel=0.03)
    assert plain < 0.75 * NOISE_MODELS["pcm"].sigma[0], "half of the devices are read as 0"


def test_how_well_it_fits_is_said() -> None:
    good = fit_device(measured_devices(NOISE_MODELS["hermes"]), "mine", degree=3)
    poor = fit_device(measured_devices(NOISE_MODELS["hermes"]), "mine", degree=0)
    assert good.r_squared > 0.95 > 0.5 > poor.r_squared
    assert all(abs(level.measured - level.fitted) < 4 * level.error for level in good.levels)
    assert any(abs(level.measured - level.fitted) > 10 * level.error for level in poor.levels)
    assert [level.points for level in good.levels] and sum(level.points for level in good.levels) == 3000
    shifted = measured_devices(NOISE_MODELS["reram_cmo_fine"])
    biased = fit_device(replace(shifted, read=shifted.read + 0.01), "mine", degree=1)
    assert all(abs(level.bias - 0.01) < 0.001 for level in biased.levels)


def test_few_or_narrow_measurements_are_warned_of() -> None:
    few = fit_device(measured_devices(NOISE_MODELS["pcm"], devices=60), "mine")
    assert "60 readings are few for 3 coefficients" in few.warnings[0]
    measured = measured_devices(NOISE_MODELS["pcm"], devices=3000, targets=None)
    half = measured.target < 0.5
    narrow = Measurements(*(values[half] for values in (measured.target, measured.read, measured.time)))
    assert "beyond them the polynomial is a guess" in fit_device(narrow, "mine").warnings[0]


@pytest.mark.parametrize(
    ("measured", "choices", "error", "message"),
    [
        (ONCE, {"degree": 3}, InvalidInputError, "needs 4 different targets; there are 3"),
        (replace(ONCE, target=-ONCE.target), {}, InvalidInputError, "signed weights are of form gaussian"),
        (ONCE, {"form": "none"}, UsageError, "has no noise to fit"),
        (replace(ONCE, time=np.repeat([0.0, 60.0], 150)), {}, UsageError, "--drift-reference"),
        (replace(ONCE, time=np.repeat([1.0, 60.0], 150)), {"form": "gaussian"}, UsageError, "do not drift"),
        (
            Measurements(np.array([0, 0.01, 0.02, 0.03]), np.zeros(4), np.array([1.0, 1, 1, 60])),
            {},
            InvalidInputError,
            "targets from 0.1 g_max on",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    measured: Measurements, choices: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit_device(measured, "mine", **choices)  # type: ignore[arg-type]
