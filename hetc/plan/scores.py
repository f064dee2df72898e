"""Scores that were measured, as a file: what `hetc score` writes and `hetc compile --scores` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.base.reading import parse_json
from hetc.base.schema import check_record
from hetc.base.tensors import read_tensors, save_tensors
from hetc.plan.calibration import UNITS_PER_ONE, Calibration

__all__ = ["Scores", "load_scores", "scores_of_calibration"]

FORMAT = "hetc scores 1"


@dataclass(repr=False)
class Scores:
    """Numbers per unit, higher = keep digital first.

    Attributes:
        values: Score by its name, then by unit id.
        origin: What they were measured on: checkpoint, tokens, profile, noise, ...
    """

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(units)} units" for name, units in self.values.items())
        return f"Scores({sizes})"

    def save(self, path: Path) -> None:
        """Writes a safetensors file: one float64 array per score, ids and origin as JSON metadata."""
        ids = {name: list(scores) for name, scores in self.values.items()}
        header = {"format": FORMAT, "units": ids, "origin": self.origin}
        arrays = {name: np.array(list(scores.values())) for name, scores in self.values.items()}
        save_tensors(path, arrays, {"scores": json.dumps(header)})


def load_scores(path: Path) -> Scores:
    """Reads a scores file; a calibration gives the scores that follow from it.

    Raises:
        UsageError: No such file.
        InvalidInputError: Neither scores nor a calibration, or scores that are no finite numbers.
    """
    where = f"scores {path}"
    metadata, arrays = read_tensors(path, "scores")
    if "calibration" in metadata:
        return scores_of_calibration(Calibration.load(path))
    if "scores" not in metadata:
        raise InvalidInputError(f"{where}: neither scores (hetc score) nor a calibration (hetc calibrate)")
    header = parse_json(metadata["scores"], f"{where}: its header")
    check_record(header, "scores", where)
    values = {}
    for name, ids in header["units"].items():
        scores = arrays.get(name, np.zeros(0))
        if scores.shape != (len(ids),) or scores.dtype != np.float64 or not np.isfinite(scores).all():
            raise InvalidInputError(f"{where}: array {name!r} must hold {len(ids)} finite float64 numbers")
        values[name] = dict(zip(ids, scores.tolist(), strict=True))
    return Scores(values, header["origin"])


def scores_of_calibration(calibration: Calibration) -> Scores:
    """The paper's baselines from a recording, per token of its text.

    `activation-frequency` is the share of tokens that chose the expert, `activation-weight` the mean of its
    routing weight, 0 where it was not chosen.
    """
    tokens = max(1, calibration.tokens)
    return Scores(
        {
            "activation-frequency": {unit: use.tokens / tokens for unit, use in calibration.routing.items()},
            "activation-weight": {
                unit: use.weight / UNITS_PER_ONE / tokens for unit, use in calibration.routing.items()
            },
        },
        {"model": calibration.sha256, "tokens": str(calibration.tokens)},
    )
