"""Runs what depends on a layer's tokens and on its router's scores, for tokens of one shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.model.weights import FLOATS
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import MismatchError
from hetc.passes.spellings.tried.routed import Routed
from hetc.passes.spellings.tried.routings import token_shape
from hetc.passes.spellings.tried.trial_model import StandIn, trial_function

__all__ = ["Runner"]

Float32 = NDArray[np.float32]

LOST = (
    "; exporters that trace keep only the experts that some token of the example chose: export with "
    "`hetc export`, or with torch.onnx.export(dynamo=True) and experts_implementation='batched_mm'"
)
"""Why experts may be missing."""


class Runner:
    """A layer for random tokens and any choice of experts.

    Args:
        found: The router and what depends on it.
        experts: How many experts there are.
        hidden: H.
        values: What to compute of it.
        stand_ins: What to use for weights, by the node that multiplies them; None for the weights themselves.
        random: Draws tokens.
        rows: How many tokens there are at least, if their shape leaves it open.
        last: Whether the sequence becomes long, not the batch; see `token_shape`.

    Attributes:
        rows: How many tokens there are, T.

    Raises:
        MismatchError: It can't be run, or chooses among another number of experts.
    """

    def __init__(
        self,
        found: Routed,
        experts: int,
        hidden: int,
        values: Sequence[ir.Value],
        stand_ins: Mapping[ir.Node, tuple[Product, StandIn]] | None,
        random: np.random.Generator,
        rows: int,
        *,
        last: bool = False,
    ) -> None:
        router, region, self._random = found.router, found.region, random
        tokens, scores = region.sources
        if tokens.dtype is not None and tokens.dtype not in FLOATS:
            raise MismatchError(f"its tokens {tokens.name!r} are {tokens.dtype}, no real numbers", router)
        width = hidden if tokens.shape is None else tokens.shape[-1]
        if isinstance(width, int) and width != hidden:
            raise MismatchError(f"its tokens are {width} wide, its experts {hidden}", router)
        self._shape, sizes = token_shape(tokens, hidden, rows, last=last)
        self._shape[-1] = hidden
        self.rows = math.prod(self._shape[:-1])
        score = trial_function(found.scoring, [scores], {}, sizes, router)
        self._score_shape = score(self._tokens(1))[0].shape
        if self._score_shape[-1] != experts:
            reason = f"the router chooses among {self._score_shape[-1]}, but there are {experts} experts"
            raise MismatchError(reason + (LOST if experts < self._score_shape[-1] else ""), router)
        # The router may take the lowest scores.
        self._lowest = not router.attributes.get_int("largest", 1)
        self._layer = trial_function(region, [found.index, *values], stand_ins, sizes, router)

    def _tokens(self, size: Float32 | float) -> Float32:
        rows = self._random.standard_normal((self.rows, self._shape[-1])) * size
        return rows.astype(np.float32).reshape(self._shape)

    def run(
        self, scores: Float32, size: Float32 | float = 1
    ) -> tuple[Float32, NDArray[np.int64], list[NDArray[Any]]]:
        """Runs it once.

        Args:
            scores: `[T, E]`; the highest choose.
            size: How large tokens are, one number or `[T, 1]`.

        Returns:
            The tokens `[T, H]`, the experts that each chose `[T, K]`, and the values.
        """
        x = self._tokens(size)
        scores = 1 - scores if self._lowest else scores
        index, *values = self._layer(x, scores.reshape(self._score_shape))
        return x.reshape(self.rows, -1), index.reshape(self.rows, -1), values
