"""Scores that were measured, as a file: what `hetc score` writes and `hetc compile --scores` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.tensors import save_tensors
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
        InvalidInputError: Neither scores nor a calibration.
    """
    if not path.is_file():
        raise UsageError(f"scores {path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "calibration" in metadata:
                return scores_of_calibration(Calibration.load(path))
            header = json.loads(metadata["scores"])
            if header["format"] != FORMAT:
                raise InvalidInputError(f"scores {path}: format {header['format']!r}, not {FORMAT!r}")
            values = {
                name: dict(zip(ids, file.get_tensor(name).tolist(), strict=True))
                for name, ids in header["units"].items()
            }
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"scores {path}: neither scores (hetc score) nor a calibration (hetc calibrate): {error}"
        ) from error
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
