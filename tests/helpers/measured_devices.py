"""Devices of a noise model, programmed and read at some times, as a laboratory would measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hetc.hardware.measurements import Measurements
from hetc.hardware.noise_models import NoiseModel
from hetc.hardware.profile import Profile
from hetc.runtimes.reference.aging import drift
from hetc.runtimes.reference.noise import add_noise, program_pair
from hetc.runtimes.reference.settings import crossbar_of

__all__ = ["measured_devices", "written_measurements"]


def measured_devices(
    model: NoiseModel,
    *,
    devices: int = 3000,
    times: Sequence[float] = (0.0,),
    targets: int | None = 11,
    seed: int = 0,
) -> Measurements:
    """The same devices read at each time after the first reading; `targets` levels, or any target."""
    random = np.random.default_rng(seed)
    r = (
        random.uniform(0, 1, devices)
        if targets is None
        else random.integers(0, targets, devices) / (targets - 1)
    )
    z0, z1, z2 = random.standard_normal((3, devices))
    if model.form == "gaussian":
        r *= random.choice([-1, 1], devices)
        programmed = add_noise(r, z0, z1, "gaussian", model.sigma, 1.0, model.sigma_breaks)
    else:
        programmed, _ = program_pair(r, z0, z1, model.sigma, 1.0, model.sigma_breaks, model.offset)
    crossbar = crossbar_of(Profile(noise=model), "noisy")
    read = [
        drift(programmed, r, z2, replace(crossbar, drift_time=time)) if time else programmed for time in times
    ]
    time = np.repeat(np.asarray(times) + model.drift_reference, devices)
    return Measurements(np.tile(r, len(times)), np.concatenate(read), time, model.offset)


def written_measurements(measured: Measurements, path: Path, *, g_max: float = 1.0) -> Path:
    """The table of docs/own-device.md, in units of `g_max`."""
    columns = (measured.target * g_max, measured.read * g_max, measured.time)
    np.savetxt(path, np.transpose(columns), "%.17g", ",", header="target,read,time", comments="")
    return path
