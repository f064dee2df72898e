"""Runs a user's model in an opened session: the one place where ONNX Runtime's complaints become hetc's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hetc.base.errors import InvalidInputError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["run_model"]


def run_model(
    session: onnxruntime.InferenceSession, outputs: Sequence[str] | None, feeds: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The outputs of a model.

    Args:
        session: The model, opened.
        outputs: Names of outputs; None for all.
        feeds: Its inputs.

    Raises:
        InvalidInputError: ONNX Runtime could not run it; the message has its words, which name the node.
    """
    try:
        found: list[np.ndarray] = session.run(None if outputs is None else list(outputs), dict(feeds))
    except Exception as error:  # ONNX Runtime's Python errors share no base class
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise InvalidInputError(
            f"ONNX Runtime could not run the model on {shapes}: {str(error).strip()}"
        ) from error
    return found
