"""Draws a profile: sigma over the conductance, drift over time, and what converters do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from hetc.base.extras import needs
from hetc.hardware.profile import Profile
from hetc.reporting.device_curves import convert, device_curves, duration

__all__ = ["draw_profile"]

COLOURS = ("#0b66b0", "#b84c00", "#00805c", "#a8407f", "#8a6500", "#4a4fb5")
TARGETS = (0.1, 0.25, 0.5, 1.0)
"""Conductances whose drift is shown."""
SETTINGS: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.prop_cycle": "cycler('color', [" + ", ".join(f"'{colour}'" for colour in COLOURS) + "])",
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "hetc",
}


def draw_profile(profile: Profile, path: Path, kind: str) -> None:
    """Writes the figure as `svg`, `png` or `pdf`, whatever the file is called.

    Raises:
        RuntimeMissingError: matplotlib is not installed.
    """
    with needs("report", "a figure of a profile"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    with rc_context(SETTINGS):
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        noise, drift, converters = figure.subplots(1, 3)
        figure.suptitle(profile.name)
        _draw_noise(noise, profile)
        _draw_drift(drift, profile)
        _draw_converters(converters, profile)
        # Without a date the same profile gives the same bytes.
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        content = io.BytesIO()  # matplotlib says little of a disk that is full
        figure.savefig(content, format=kind, metadata=undated.get(kind))
    path.write_bytes(content.getvalue())


def _draw_noise(axes: Any, profile: Profile) -> None:
    curves = device_curves(profile, np.linspace(0, 1, 201))
    if profile.noise.form == "differential-pair":
        axes.plot(curves.r, 100 * curves.sigma, label="one device, programmed")
    now = curves.times.index(profile.drift_time)
    label = "a weight" if profile.drift_time == 0 else f"a weight after {duration(profile.drift_time)}"
    axes.plot(curves.r, 100 * curves.deviation[now], label=label)
    axes.set(title=f"noise: {profile.noise.name}", xlabel="r = target / g_max", xlim=(0, 1), ylim=(0, None))
    axes.set_ylabel("standard deviation, % of g_max")
    axes.legend()


def _draw_drift(axes: Any, profile: Profile) -> None:
    curves = device_curves(profile, np.array(TARGETS))
    axes.set(title="drift", xlabel="time since programming")
    axes.set_ylabel("mean of a weight, % of g_max")
    if len(curves.times) == 1:
        axes.text(0.5, 0.5, "no drift is known", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    times = np.array(curves.times)
    for index, target in enumerate(TARGETS):
        mean, deviation = curves.mean[:, index], curves.deviation[:, index]
        axes.plot(times, 100 * mean, marker=".", label=f"r = {target:g}")
        axes.fill_between(times, 100 * (mean - deviation), 100 * (mean + deviation), alpha=0.15)
    axes.set_xscale("symlog", linthresh=times[1])
    axes.set_xticks(times, [duration(time) for time in curves.times], minor=False)
    axes.minorticks_off()
    axes.legend()


def _draw_converters(axes: Any, profile: Profile) -> None:
    """What comes out of each converter over its full scale, and its steps about 0 in a corner."""
    axes.set(title="converters", ylabel="out, of full scale")
    axes.set_xlabel(f"in, of full scale\n(ADC: {profile.out_bound:g} x range x weight scale)")
    steps = axes.inset_axes((0.6, 0.08, 0.38, 0.4), xticks=[], yticks=[], title="about 0")
    bits = [given for given in (profile.dac_bits, profile.adc_bits) if given]
    near = 4 / 2 ** (min(bits, default=8) - 1)
    for name, given, line in (("DAC", profile.dac_bits, "-"), ("ADC", profile.adc_bits, "--")):
        label = f"{name}, {given} bit" if given else f"no {name}"
        for panel, reach in ((axes, 1.25), (steps, near)):
            values = np.linspace(-reach, reach, 2001)
            panel.plot(values, convert(values, given), line, label=label)
    axes.legend()
