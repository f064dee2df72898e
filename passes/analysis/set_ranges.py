"""Gives analog units static input ranges and ADC bounds from a calibration; the graph isn't changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile
from hetc.plan.calibration import Calibration, Site, Statistics, parse_bound_rule, parse_range_rule
from hetc.plan.plan import PlannedUnit

__all__ = ["FEWEST_ROWS", "set_ranges", "sites_of"]

logger = logging.getLogger(__name__)

FEWEST_ROWS = 64
"""Experts that saw fewer vectors than this take the range of their layer."""
LEAST_RANGE = 1e-30
"""Stands for a slice that only ever saw zeros; an operator wants a positive range."""


def sites_of(unit: PlannedUnit) -> dict[str, int]:
    """The crossbar inputs of a unit with their widths: `in` and `mid` of an expert, else one per matrix."""
    if unit.kind != "expert":
        return {matrix.weight: matrix.inputs for matrix in unit.matrices}
    widths = {matrix.projection: matrix.inputs for matrix in unit.matrices}
    return {"in": widths["up_proj"], "mid": widths["down_proj"]}


def set_ranges(
    units: Sequence[PlannedUnit],
    calibration: Calibration,
    rule: str,
    profile: Profile,
    bound_rule: str | None = None,
) -> tuple[PlannedUnit, ...]:
    """The units, the analog ones with `input_ranges`, and in `ranges_from` whose statistics gave them.

    With a bound rule, `adc_bounds` too: `scale:LAMBDA` is lambda for every slice, to be multiplied by a
    column's weight scale; `std:LAMBDA` is lambda * rms(x) / range, to be multiplied by a column's norm. What
    a column puts out has the standard deviation rms(x) * norm where the elements of x are uncorrelated.

    Args:
        units: From `place_units`.
        calibration: What was recorded of this model.
        rule: `max`, `std:KAPPA` or `quantile:SHARE` of |x| (see `parse_range_rule`).
        profile: The hardware.
        bound_rule: `scale:LAMBDA` or `std:LAMBDA` (see `parse_bound_rule`); None for the profile's bound.

    Raises:
        UsageError: An unknown rule, or ADC bounds for hardware without an ADC.
        InvalidInputError: The calibration has another tile split, or lacks a unit.
    """
    name, number = parse_range_rule(rule)
    bound_name, bound_lambda = ("", 0.0) if bound_rule is None else parse_bound_rule(bound_rule)
    if bound_rule is not None and not profile.adc_bits:
        raise UsageError(f"profile {profile.name!r} has no ADC, so there is no ADC bound to set")
    if calibration.tile_rows != profile.tile_rows:
        raise InvalidInputError(
            f"the calibration is for tiles of {calibration.tile_rows} rows, profile {profile.name!r} "
            f"has {profile.tile_rows}; calibrate again with this profile"
        )

    def value(seen: Statistics) -> float:
        found = number * seen.deviation if name == "std" else seen.quantile(number)
        return max(found, LEAST_RANGE)

    def bound(seen: Statistics, input_range: float) -> float:
        return bound_lambda * (seen.root_mean_square / input_range if bound_name == "std" else 1.0)

    ranged = []
    for unit in units:
        if unit.target != "analog":
            ranged.append(unit)
            continue
        own = {site: calibration.statistics.get((unit.id, site), []) for site in sites_of(unit)}
        source = "own" if all(seen and seen[0].rows >= FEWEST_ROWS for seen in own.values()) else "layer"
        if source == "layer":
            own = {site: _layer_statistics(units, unit, site, calibration) for site in own}
            logger.info("%s saw too few vectors and takes its layer's range", unit.id)
        for site, width in sites_of(unit).items():
            if len(own[site]) != ceil(width / profile.tile_rows):
                raise InvalidInputError(
                    f"the calibration has {len(own[site])} slices for {unit.id} {site}, the model needs "
                    f"{ceil(width / profile.tile_rows)}; calibrate this model again"
                )
        ranges = {site: tuple(map(value, seen)) for site, seen in own.items()}
        bounds = {site: tuple(map(bound, own[site], ranges[site])) for site in own if bound_rule}
        ranged.append(replace(unit, input_ranges=ranges, ranges_from=source, adc_bounds=bounds))
    return tuple(ranged)


def _layer_statistics(
    units: Iterable[PlannedUnit], unit: PlannedUnit, site: str, calibration: Calibration
) -> list[Statistics]:
    """What all units of the same kind and layer saw at a site."""
    merged: list[Statistics] = []
    for other in units:
        if (other.kind, other.layer) != (unit.kind, unit.layer):
            continue
        key: Site = (other.id, site)
        for index, seen in enumerate(calibration.statistics.get(key, [])):
            if index == len(merged):
                merged.append(Statistics())
            merged[index].add(seen)
    return merged
