"""Tokens whose router chose other experts in a bundle than in its source, because scores lay too close.

A source that computes in 16 bits rounds between its layers where a bundle in exact mode does not. Where two
experts' scores are apart by no more than that, either choice is right, and the token goes another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hetc.base.text import as_utf8
from hetc.bundle.bundle import Bundle
from hetc.bundle.files import MODEL
from hetc.runtimes.onnxruntime.run_model import run_model
from hetc.runtimes.onnxruntime.session import FOLDER_KEY, open_session

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
    model = onnx.load(source, load_external_data=False)
    nodes = [node for node in model.graph.node if node.name in routers and len(node.input) and node.output]
    names = [name for node in nodes for name in (node.input[0], node.output[-1])]
    theirs = _values(model, source.parent, names, feeds, {})
    ours = _values(
        onnx.load(bundle.path / MODEL, load_external_data=False),
        bundle.path,
        names,
        feeds,
        {"hetc.mode": "exact"},
    )
    found = np.zeros(0, np.bool_)
    for node in nodes:
        score, index = node.input[0], node.output[-1]
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
    model: onnx.ModelProto,
    folder: Path,
    names: Sequence[str],
    feeds: Mapping[str, NDArray[Any]],
    config: Mapping[str, str],
) -> dict[str, NDArray[Any]]:
    """Values of a model by name, as far as it has them."""
    made = {name for node in model.graph.node for name in node.output}
    known = [name for name in dict.fromkeys(names) if name in made]
    given = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in known if name not in given)
    entries = {**config, FOLDER_KEY: as_utf8(folder.absolute())}
    session = open_session(model.SerializeToString(), entries)
    return dict(zip(known, run_model(session, known, dict(feeds)), strict=True)) if known else {}
