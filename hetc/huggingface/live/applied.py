"""A plan on its way into a model: what each module's forward is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hetc.base.errors import InvalidInputError
from hetc.huggingface.live.host_weights import HostWeights
from hetc.huggingface.live.programmings import Programmings
from hetc.plan.plan import Plan, PlannedUnit
from hetc.plan.units import Matrix
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["Applied", "check_shape"]


@dataclass(frozen=True)
class Applied:
    """A plan that is applied to a model.

    Attributes:
        plan: The plan.
        settings: Mode, noise, converters.
        programmings: Where crossbars are kept.
        host: Where clean weights go that were programmed; None to leave them on their device.
    """

    plan: Plan
    settings: Crossbar
    programmings: Programmings
    host: HostWeights | None = None


def check_shape(weight: torch.Tensor, unit: PlannedUnit, matrix: Matrix) -> None:
    """Raises `InvalidInputError` for a weight `[N, K]` that isn't the plan's."""
    expected = [matrix.outputs, matrix.inputs]
    if list(weight.shape) != expected:
        raise InvalidInputError(
            f"plan: {matrix.projection} of unit {unit.id!r} is {expected}, the model's is "
            f"{list(weight.shape)}; the plan was made for another model"
        )
