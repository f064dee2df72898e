"""What a shell offers for names: profiles, scores, noise models, and the units of a plan.

Each function is a `shell_complete` of click's. What can't be read offers nothing: a shell shows no errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from hetc.base.errors import HetcError

__all__ = ["all_profiles", "costs", "noises", "profiles", "scores", "units"]

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offers(names: Callable[[dict[str, Any]], Iterable[str]]) -> Complete:
    """Makes a function of the other parameters one that offers the names that fit what was typed."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [name for name in names(ctx.params) if name.startswith(incomplete)]
        except (HetcError, OSError):
            return []

    return complete


@_offers
def profiles(given: dict[str, Any]) -> Iterable[str]:
    """The built-in hardware profiles."""
    from hetc.hardware.profile import built_in_profiles

    return built_in_profiles()


@_offers
def all_profiles(given: dict[str, Any]) -> Iterable[str]:
    """The built-in profiles of both kinds, and the noise models."""
    from hetc.costing.profile import built_in_costs
    from hetc.hardware.noise_models import known_noise_models
    from hetc.hardware.profile import built_in_profiles

    return [*built_in_profiles(), *built_in_costs(), *known_noise_models()]


@_offers
def costs(given: dict[str, Any]) -> Iterable[str]:
    """The built-in cost profiles."""
    from hetc.costing.profile import built_in_costs

    return built_in_costs()


@_offers
def noises(given: dict[str, Any]) -> Iterable[str]:
    """The noise models, those of other packages too."""
    from hetc.hardware.noise_models import known_noise_models

    return known_noise_models()


@_offers
def scores(given: dict[str, Any]) -> Iterable[str]:
    """The scores that need nothing but weights, and those that are measured."""
    from hetc.passes.analysis.score_experts import MEASURED_BY, known_scores

    return [*known_scores(), *MEASURED_BY]


@_offers
def units(given: dict[str, Any]) -> Iterable[str]:
    """The units of the bundle, plan or model on the line."""
    from hetc.compiler.costs import open_plan

    return open_plan(given["path"]).by_id
