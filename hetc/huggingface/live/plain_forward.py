"""Analog linear layers and experts without kernels: on a CPU, and for noise of products anywhere.

Weights are read when they are programmed, at the first use of a matrix: only then are those in memory that
accelerate keeps elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from hetc.huggingface.experts import STACKED
from hetc.huggingface.live.applied import Applied, check_shape
from hetc.huggingface.live.expert_forward import Product, clean_products, expert_weights, run_experts
from hetc.plan.calibration import parse_bound_rule
from hetc.plan.plan import PlannedUnit
from hetc.plan.targets import as_compiled, digital_lines
from hetc.plan.units import Matrix
from hetc.runtimes.torch.crossbar import Crossbars, Placed, analog_matmul, place

__all__ = ["PlainExperts", "PlainLinear", "linear_weight"]


def linear_weight(module: Any) -> torch.Tensor:
    """Weight `[N, K]` of a linear layer."""
    weight: torch.Tensor = module.weight.T if isinstance(module, Conv1D) else module.weight
    return weight


@dataclass
class Site:
    """Matrices of an analog unit that take the same input.

    Attributes:
        applied, unit: Where they belong.
        name: The input's name in the plan: `in` or `mid` of an expert, else the weight's.
        matrices: The plan's entry for each.
        owner: What names their weights: the module, and an expert's number.
        weights: Gives them, `[N, K]` each.
    """

    applied: Applied
    unit: PlannedUnit
    name: str
    matrices: Sequence[Matrix]
    owner: tuple[Any, ...]
    weights: Callable[[], Sequence[torch.Tensor]]

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for a weight that isn't the plan's."""
        for weight, matrix in zip(self.weights(), self.matrices, strict=True):
            check_shape(weight, self.unit, matrix)

    @cached_property
    def crossbars(self) -> Crossbars:
        """Programmed at first use: experts that no token chooses never are."""
        plan, settings = self.applied.plan, self.applied.settings
        bounds = self.unit.adc_bounds.get(self.name)
        by_norm = bounds is not None and parse_bound_rule(plan.adc_bound_rule)[0] == "std"
        digital = [self._digital(matrix) for matrix in self.matrices]
        ranges = self.unit.input_ranges.get(self.name)
        key = (
            *self.owner,
            *((matrix.projection, matrix.stream) for matrix in self.matrices),
            settings,
            *(None if values is None else tuple(values) for values in (ranges, bounds)),
            by_norm,
            *(mask.tobytes() for lines in digital for mask in lines.values()),
        )

        def program() -> Crossbars:
            placed = [
                Placed(weight, matrix.stream, bounds, by_norm, **lines)
                for weight, matrix, lines in zip(self.weights(), self.matrices, digital, strict=True)
            ]
            return place(placed, settings, ranges)

        return self.applied.programmings.get(key, program)

    def _digital(self, matrix: Matrix) -> dict[str, Any]:
        """Which of a matrix's inputs or outputs are digital, and which were for its ADC bounds."""
        plan = self.applied.plan
        bound = digital_lines(as_compiled(plan), self.unit, matrix)
        return {
            **digital_lines(plan, self.unit, matrix),
            **{f"bound_{side}": lines for side, lines in bound.items()},
        }

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return analog_matmul(x, self.crossbars)


class PlainLinear:
    """Forward of a linear layer on crossbars."""

    def __init__(self, module: Any, applied: Applied, unit: PlannedUnit, matrix: Matrix) -> None:
        """Raises `InvalidInputError` for a layer that isn't the plan's."""
        self.module = module
        self.host = applied.host
        self.site = Site(
            applied, unit, matrix.weight, [matrix], (module, None), lambda: [linear_weight(module)]
        )

    @cached_property
    def _product(self) -> Product:
        if self.host and self.site.crossbars:
            self.host.take(self.module, ["weight"])
        return self.site

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., K]` -> `[..., N]`."""
        y, bias = self._product(x), self.module.bias
        return (y if bias is None else y + bias).to(x.dtype)


class PlainExperts:
    """Forward of an experts module, some or all of whose experts are analog."""

    def __init__(self, module: Any, applied: Applied, units: Sequence[PlannedUnit]) -> None:
        """Raises `InvalidInputError` for an expert that isn't the plan's."""
        self.module = module
        self.host = applied.host
        self.sites = [
            _expert_sites(module, index, applied, unit) if unit.target == "analog" else None
            for index, unit in enumerate(units)
        ]

    @cached_property
    def _products(self) -> Sequence[tuple[Product, Product] | None]:
        """With clean weights on the host, those of digital experts are all that the module still holds."""
        if self.host is None:
            return self.sites
        digital = [index for index, pair in enumerate(self.sites) if pair is None]
        if all(site.crossbars for pair in self.sites for site in pair or ()):
            names = [name for name in STACKED if name in self.module._parameters]
            if self.host.take(self.module, names, digital):
                kept = {index: clean_products(self.module, place) for place, index in enumerate(digital)}
                return [pair or kept[index] for index, pair in enumerate(self.sites)]
        return self.sites

    def __call__(
        self, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """`[T, H]`, `[T, K]` and `[T, K]` -> `[T, H]`."""
        return run_experts(self.module, self._products, hidden, top_k_index, top_k_weights)


def _expert_sites(module: Any, index: int, applied: Applied, unit: PlannedUnit) -> tuple[Site, Site]:
    first = [matrix for matrix in unit.matrices if matrix.projection != "down_proj"]
    second = [matrix for matrix in unit.matrices if matrix.projection == "down_proj"]

    def site(name: str, matrices: Sequence[Matrix]) -> Site:
        def weights() -> list[torch.Tensor]:
            found = expert_weights(module, index)
            return [found[matrix.projection] for matrix in matrices]

        return Site(applied, unit, name, matrices, (module, index), weights)

    return site("in", first), site("mid", second)
