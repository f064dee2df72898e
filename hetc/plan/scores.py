"""Scores that were measured, as a file: what `hetc score` writes and `hetc compile --scores` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError
from hetc.base.frames import to_frame
from hetc.base.html import html_table
from hetc.base.reading import parse_json
from hetc.base.schema import check_record
from hetc.base.tensors import cut_floats, read_tensors, save_tensors
from hetc.plan.calibration import UNITS_PER_ONE, Calibration
from hetc.plan.sensitivity import Sensitivities

if TYPE_CHECKING:
    import pandas

__all__ = ["Scores", "load_scores", "scores_of_calibration"]

FORMAT = "hetc scores 1"
NEURONS = "neurons/"
"""Begins the names of arrays of neurons' scores."""

ORIGIN_NUMBERS: dict[str, Callable[[str], float]] = {"tokens": int, "seed": int, "noise_scale": float}
"""What of an origin is a number; a file keeps all of it as text."""


@dataclass(repr=False, eq=False)
class Scores:
    """Numbers per unit and neuron, higher = keep digital first.

    Attributes:
        values: Score by its name, then by unit id.
        origin: What they were measured on: checkpoint, tokens, profile, noise, ...
        neurons: Score by its name, then by unit id: `[neurons]` float32, for units that divide into neurons.
        sensitivities: What `device-loss` is calculated from; None where it wasn't recorded.
    """

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    neurons: dict[str, dict[str, NDArray[np.float32]]] = field(default_factory=dict)
    sensitivities: Sensitivities | None = None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(units)} units" for name, units in self.values.items())
        return f"Scores({sizes})"

    def _repr_html_(self) -> str:
        """What a notebook shows: for each score how many units it has, and its range."""
        rows = [
            (name, len(units), min(units.values(), default=None), max(units.values(), default=None))
            for name, units in self.values.items()
        ]
        origin = ", ".join(f"{name} {value}" for name, value in self.origin.items())
        return html_table(origin or "scores", ("score", "units", "lowest", "highest"), rows)

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each `unit` and a column for each score, as a pandas frame; what is missing is NaN.

        Raises:
            RuntimeMissingError: pandas is not installed.
        """
        units = dict.fromkeys(unit for scores in self.values.values() for unit in scores)
        return to_frame(
            {"unit": unit, **{name: scores.get(unit) for name, scores in self.values.items()}}
            for unit in units
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scores):
            return NotImplemented
        (header, arrays), (its_header, its_arrays) = self._content(), other._content()
        if header != its_header:
            return False
        return all(np.array_equal(array, its_arrays[name]) for name, array in arrays.items())

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the arrays: of neurons how many have a score, by score and unit."""
        numbers = {key: kind(self.origin[key]) for key, kind in ORIGIN_NUMBERS.items() if key in self.origin}
        return {
            "values": self.values,
            "origin": self.origin | numbers,
            "neurons": {
                name: {unit: len(scores) for unit, scores in units.items()}
                for name, units in self.neurons.items()
            },
            "device_loss": self.sensitivities is not None,
        }

    def save(self, path: Path) -> None:
        """Writes a safetensors file: arrays, and ids, sizes and origin as JSON metadata."""
        header, arrays = self._content()
        save_tensors(path, arrays, {"scores": json.dumps(header)})

    def _content(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        ids = {name: list(scores) for name, scores in self.values.items()}
        header: dict[str, Any] = {"format": FORMAT, "units": ids, "origin": self.origin}
        arrays: dict[str, NDArray[Any]] = {
            name: np.array(list(scores.values())) for name, scores in self.values.items()
        }
        if self.neurons:
            header["neurons"] = {
                name: [[unit, len(one)] for unit, one in units.items()]
                for name, units in self.neurons.items()
            }
            for name, units in self.neurons.items():
                parts = [one.astype(np.float32) for one in units.values()]
                arrays[f"{NEURONS}{name}"] = np.concatenate([np.zeros(0, np.float32), *parts])
        if self.sensitivities is not None:
            header["sensitivities"] = self.sensitivities.header()
            arrays |= self.sensitivities.arrays()
        return header, arrays


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
    neurons = {
        name: _by_unit(arrays, name, sizes, where) for name, sizes in header.get("neurons", {}).items()
    }
    recorded = header.get("sensitivities")
    sensitivities = Sensitivities.of_arrays(recorded, arrays, where) if recorded else None
    return Scores(values, header["origin"], neurons, sensitivities)


def _by_unit(
    arrays: Mapping[str, NDArray[Any]], name: str, sizes: Sequence[tuple[str, int]], where: str
) -> dict[str, NDArray[np.float32]]:
    parts = cut_floats(arrays, f"{NEURONS}{name}", [(size,) for _, size in sizes], where)
    return {unit: part for (unit, _), part in zip(sizes, parts, strict=True)}


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
