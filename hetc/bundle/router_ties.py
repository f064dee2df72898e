"""Tokens whose router chose other experts in a bundle than in its source, because scores lay too close.

A source that computes in 16 bits rounds between its layers where a bundle in exact mode does not. Where two
experts' scores are apart by no more than that, either choice is right, and the token goes another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.bundle.bundle import Bundle
from hetc.bundle.files import MODEL
from hetc.runtimes.onnxruntime.run_model import run_model
from hetc.runtimes.onnxruntime.session import open_graph

__all__ = ["tied_tokens", "ties"]


def tied_tokens(
    bundle: Bundle, source: Path, feeds: Mapping[str, NDArray[Any]], allowed: float
) -> NDArray[np.bool_]:
    """Which of all tokens are at a tie in some layer that was raised, `[T]`; empty if none is.

    Args:
        bundle: The bundle, run in exact mode.
        source: The model that it was compiled from.
        feeds: One step's inputs of both.
        allowed: How close scores are a tie, as a share of a token's largest score.
    """
    routers = {finding.node for finding in bundle.plan.findings if finding.raised and finding.node}
    model = ir.load(source)
    found_routers = [node for node in model.graph if node.name in routers and node.inputs and node.outputs]
    pairs = [(_name(node.inputs[0]), _name(node.outputs[-1])) for node in found_routers]
    names = [name for pair in pairs for name in pair]
    theirs = _values(model, source.parent, names, feeds, {})
    ours = _values(ir.load(bundle.path / MODEL), bundle.path, names, feeds, {"hetc.mode": "exact"})
    found = np.zeros(0, np.bool_)
    for score, index in pairs:
        if index in theirs and index in ours and score in theirs:
            rows = ties(theirs[score], theirs[index], ours[index], allowed)
            found = rows if found.size != rows.size else found | rows
    return found


def ties(
    scores: NDArray[Any], chosen: NDArray[Any], other: NDArray[Any], allowed: float
) -> NDArray[np.bool_]:
    """Which tokens chose other experts, and whose scores of these are as good as equal, `[T]`.

    Args:
        scores: `[..., E]`.
        chosen: The experts that these scores chose, `[..., K]`.
        other: Those that were chosen in their place, of the same shape.
        allowed: How close scores are as good as equal, as a share of a token's largest score.
    """
    scores = scores.reshape(-1, scores.shape[-1]).astype(np.float32)
    first, second = (np.sort(part.reshape(len(scores), -1), axis=1) for part in (chosen, other))
    values = [np.sort(np.take_along_axis(scores, part, axis=1), axis=1) for part in (first, second)]
    largest = np.abs(scores).max(axis=1, where=np.isfinite(scores), initial=0)
    close = np.abs(values[0] - values[1]).max(axis=1) <= allowed * largest
    differ: NDArray[np.bool_] = (first != second).any(axis=1) & close
    return differ


def _values(
    model: ir.Model,
    folder: Path,
    names: Sequence[str],
    feeds: Mapping[str, NDArray[Any]],
    config: Mapping[str, str],
) -> dict[str, NDArray[Any]]:
    """Values of a model by name, as far as it has them; they become outputs of it."""
    made = {value.name: value for node in model.graph for value in node.outputs}
    known = [name for name in dict.fromkeys(names) if name in made]
    given = {output.name for output in model.graph.outputs}
    model.graph.outputs.extend(made[name] for name in known if name not in given)
    session = open_graph(model, folder, config)
    return dict(zip(known, run_model(session, known, dict(feeds)), strict=True)) if known else {}


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""
