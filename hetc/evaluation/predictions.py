"""Loss and accuracy of the next token on given tokens, as rows of the table of results."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetc.evaluation.origin import tokens_digest
from hetc.evaluation.results import Row
from hetc.model.prediction import Predict

__all__ = ["data_columns", "prediction_rows"]


def prediction_rows(predict: Predict, windows: NDArray[np.int64], name: str) -> list[Row]:
    """Mean loss in nats per token, and the share of tokens that were the likeliest.

    Args:
        predict: The model.
        windows: Token ids `[windows, window]`.
        name: The column `task`.
    """
    losses, hits = predict(windows)
    found = (("loss", losses.mean(), "nats/token", False), ("accuracy", hits.mean(), "", True))
    return [
        {"task": name, "metric": metric, "value": float(value), "unit": unit, "higher_is_better": better}
        for metric, value, unit, better in found
    ]


def data_columns(windows: NDArray[np.int64]) -> Row:
    """The columns that say which tokens those were."""
    return {"data_sha256": tokens_digest(windows), "tokens": windows.size, "window": windows.shape[1]}
