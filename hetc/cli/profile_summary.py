"""What `hetc profiles` prints of a profile, and of a fit to measured conductances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from hetc.cli.output import new_console
from hetc.hardware.device_fit import DeviceFit
from hetc.hardware.profile import Profile
from hetc.reporting.device_curves import DeviceCurves, device_curves, duration

__all__ = ["curves_to_dict", "fit_to_dict", "polynomial", "print_fit", "print_profile"]

TARGETS = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1])
"""Where sigma and drift are shown, of g_max."""


def polynomial(coefficients: Sequence[float]) -> str:
    """`polynomial((0.03, 0.02))` is `0.03 + 0.02 r`."""
    powers = ("", " r", *(f" r^{power}" for power in range(2, len(coefficients))))
    terms = [f"{abs(value):.4g}{power}" for value, power in zip(coefficients, powers, strict=False)]
    signs = ["-" if value < 0 else "+" for value in coefficients]
    text = " ".join(f"{sign} {term}" for sign, term in zip(signs, terms, strict=True))
    return text.removeprefix("+ ") or "0"


def print_profile(profile: Profile) -> None:
    """The tile, the converters in steps, and tables of the noise and the drift."""
    console = new_console()
    console.print(f"tile        {profile.tile_rows} inputs x {profile.tile_columns} outputs")
    console.print(f"DAC         {_converter(profile.dac_bits, 'range', 1)}, rounding {profile.dac_rounding}")
    console.print(f"ADC         {_converter(profile.adc_bits, 'range x weight scale', profile.out_bound)}")
    noise = profile.noise
    console.print(f"noise       {noise.name}, {noise.form}, c = {profile.noise_scale:g}")
    pieces = len(noise.sigma_breaks) + 1
    length = len(noise.sigma) // (pieces * max(1, len(noise.times)))
    for index in range(0, len(noise.sigma), max(1, length)):
        part = index // length
        begin = (0.0, *noise.sigma_breaks)[part % pieces]
        where = f", from r = {begin:.4g}" if pieces > 1 else ""
        when = f", {duration(noise.times[part // pieces])} after programming" if noise.times else ""
        console.print(f"sigma(r)    {polynomial(noise.sigma[index : index + length])}{where}{when}")
    curves = device_curves(profile, TARGETS)
    table = Table("r, of g_max", *(f"{r:g}" for r in TARGETS), box=None, pad_edge=False)
    if noise.form == "differential-pair":
        table.add_row("sigma of a device, % of g_max", *_percent(curves.sigma))
    for time, mean, deviation in zip(curves.times, curves.mean, curves.deviation, strict=True):
        when = "programmed" if time == 0 else f"after {duration(time)}"
        table.add_row(f"weight {when}, mean in % of scale", *_percent(mean))
        table.add_row("  its standard deviation", *_percent(deviation))
    console.print(table)
    if len(curves.times) == 1:
        console.print("drift       none is known")
    else:
        reference = f"t0 = {duration(noise.drift_reference)}, " if noise.drift_mean else ""
        console.print(
            f"drift       {reference}read after {duration(profile.drift_time)}, compensation "
            f"{profile.drift_compensation} (not in the table)"
        )


def _converter(bits: int, unit: str, full_scale: float) -> str:
    if not bits:
        return "none"
    levels = 2 ** (bits - 1) - 1
    step = full_scale / levels
    return f"{bits} bit: {2 * levels + 1} levels over +-{full_scale:g} {unit}, a step of {step:.3g}"


def _percent(values: Any) -> list[str]:
    return [f"{100 * value:.2f}" for value in values]


def curves_to_dict(curves: DeviceCurves) -> dict[str, Any]:
    """The tables as plain data, fractions of g_max and seconds."""
    return {
        "name": curves.profile.name,
        "r": curves.r.tolist(),
        "sigma": curves.sigma.tolist(),
        "times": list(curves.times),
        "mean": curves.mean.tolist(),
        "deviation": curves.deviation.tolist(),
    }


def fit_to_dict(fit: DeviceFit) -> dict[str, Any]:
    """How well the model says what was measured, as plain data."""
    return {
        "points": fit.points,
        "covariance": fit.covariance.tolist(),
        "r_squared": fit.r_squared,
        "levels": [asdict(level) for level in fit.levels],
        "drift": [asdict(level) for level in fit.drift],
        "warnings": list(fit.warnings),
    }


def print_fit(fit: DeviceFit) -> None:
    """The polynomial with its errors, how it meets what was measured, the drift, and warnings; on stderr."""
    console = new_console(stderr=True)
    errors = ", ".join(f"{error:.2g}" for error in np.sqrt(np.diag(fit.covariance)))
    console.print(f"sigma(r)    {polynomial(fit.model.sigma)}   (standard errors {errors})")
    console.print(
        f"points      {fit.points} right after programming; R^2 over their levels {fit.r_squared:.4f}"
    )
    table = Table("r", "points", "bias %", "measured %", "fitted %", "off by", box=None, pad_edge=False)
    for level in fit.levels:
        off = (level.measured - level.fitted) / level.error if level.error > 0 else 0.0
        numbers = _percent((level.bias, level.measured, level.fitted))
        table.add_row(f"{level.r:.3f}", str(level.points), *numbers, f"{off:+.1f} standard errors")
    console.print(table)
    if fit.drift:
        console.print(f"drift       nu, t0 = {fit.model.drift_reference:g} s")
        table = Table("r", "later points", "mean nu", "standard error", "deviation", box=None, pad_edge=False)
        for one in fit.drift:
            numbers = [f"{value:.4f}" for value in (one.mean, one.error, one.deviation)]
            table.add_row(f"{one.r:.3f}", str(one.points), *numbers)
        console.print(table)
    for warning in fit.warnings:
        console.print(f"warning     {warning}")
