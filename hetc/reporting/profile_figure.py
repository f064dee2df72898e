"""Draws a profile: sigma over the conductance, drift over time, and what converters do."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from hetc.hardware.profile import Profile
from hetc.reporting.device_curves import convert, device_curves, duration
from hetc.reporting.figure import Figure, new_drawing
from hetc.reporting.style import shortened

__all__ = ["profile_figure"]

TARGETS = (0.1, 0.25, 0.5, 1.0)
"""Conductances whose drift is shown."""
HEIGHT = 160.0
"""Of each plot, in points."""


def profile_figure(profile: Profile) -> Figure:
    """Three plots: noise and drift of devices, and the converters."""
    curves = device_curves(profile, np.linspace(0, 1, 21))
    columns = ["r"]
    numbers = [curves.r]
    for time, mean, deviation in zip(curves.times, curves.mean, curves.deviation, strict=True):
        columns += [f"mean after {duration(time)}", f"standard deviation after {duration(time)}"]
        numbers += [mean, deviation]
    rows = tuple(zip(*(column.tolist() for column in numbers), strict=True))
    title = f"Profile {profile.name}"
    return Figure("profile", title, lambda width: _draw(profile, width), tuple(columns), rows)


def _draw(profile: Profile, width: float) -> Drawing:
    across = 3 if width >= 3 * HEIGHT else 1
    drawing = new_drawing(width, HEIGHT * 3 / across + 14)
    drawing.suptitle(shortened(profile.name, width - 12), x=0.01, ha="left", size="medium")
    noise, drift, converters = drawing.subplots(3 // across, across, squeeze=False).flat
    _draw_noise(noise, profile)
    _draw_drift(drift, profile)
    _draw_converters(converters, profile)
    return drawing


def _draw_noise(axes: Axes, profile: Profile) -> None:
    curves = device_curves(profile, np.linspace(0, 1, 201))
    if profile.noise.form == "differential-pair":
        axes.plot(curves.r, 100 * curves.sigma, label="one device")
    now = curves.times.index(profile.drift_time)
    label = "a weight" if profile.drift_time == 0 else f"after {duration(profile.drift_time)}"
    axes.plot(curves.r, 100 * curves.deviation[now], label=label)
    axes.set(title=f"noise: {shortened(profile.noise.name, 90)}", xlabel="r = target / g_max", xlim=(0, 1))
    axes.set(ylim=(0, None), ylabel="s.d., % of g_max")
    axes.legend()


def _draw_drift(axes: Axes, profile: Profile) -> None:
    curves = device_curves(profile, np.array(TARGETS))
    axes.set(title="drift", xlabel="time since programming", ylabel="mean, % of g_max")
    if len(curves.times) == 1:
        axes.text(0.5, 0.5, "no drift is known", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    places = range(len(curves.times))
    for mean, deviation in zip(100 * curves.mean.T, 100 * curves.deviation.T, strict=True):
        axes.plot(places, mean, marker=".")
        axes.fill_between(places, mean - deviation, mean + deviation, alpha=0.15)
    axes.set_xticks(places, [duration(time) for time in curves.times], rotation=90)
    axes.secondary_yaxis("right").set_yticks(100 * curves.mean[-1], [f"r = {target:g}" for target in TARGETS])


def _draw_converters(axes: Axes, profile: Profile) -> None:
    """What comes out of each converter over its full scale, and its steps about 0 in a corner."""
    axes.set(title="converters", ylabel="out, of full scale")
    axes.set_xlabel(f"in, of full scale (ADC:\n{profile.out_bound:g} x range x weight scale)")
    steps = axes.inset_axes((0.6, 0.08, 0.38, 0.4), xticks=[], yticks=[], title="about 0")
    bits = [given for given in (profile.dac_bits, profile.adc_bits) if given]
    near = 4 / 2 ** (min(bits, default=8) - 1)
    for name, given, line in (("DAC", profile.dac_bits, "-"), ("ADC", profile.adc_bits, "--")):
        label = f"{name}, {given} bit" if given else f"no {name}"
        for panel, reach in ((axes, 1.25), (steps, near)):
            values = np.linspace(-reach, reach, 2001)
            panel.plot(values, convert(values, given), line, label=label)
    axes.legend()
