"""Conductances that were measured: the folder of `UNIT.safetensors` that `partition --conductances` writes.

For each matrix P of a unit `P.g_plus` and `P.g_minus`, in uS; what else a file has must be as it was written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.tensors import read_tensors
from hetc.model.load import sha256

__all__ = ["G_MAX_KEY", "MeasuredConductances", "MeasuredMatrix"]

G_MAX_KEY = "g_max_microsiemens"
"""In the metadata of a file: the conductance of a weight as large as its scale."""


@dataclass(frozen=True)
class MeasuredMatrix:
    """One matrix of a file.

    Attributes:
        where: File and matrix, which begins messages.
        arrays: `g_plus`, `g_minus`, and what else the file has of the matrix.
        g_max: Microsiemens of the largest weight; None where the file doesn't say.
    """

    where: str
    arrays: Mapping[str, NDArray[Any]]
    g_max: float | None

    def pair(self, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """g_plus and g_minus of the given shape.

        Raises:
            InvalidInputError: One is missing, or of another shape, or not all of it is a conductance.
        """
        found = []
        for name in ("g_plus", "g_minus"):
            values = self.require(name, shape)
            if not np.isfinite(values).all() or (values < 0).any():
                bad = values[~(np.isfinite(values) & (values >= 0))][0]
                raise InvalidInputError(f"{self.where}.{name} holds {bad:g}; conductances are 0 uS or more")
            found.append(values.astype(np.float64))
        return found[0], found[1]

    def require(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """An array of the matrix; errors as for `pair`."""
        if name not in self.arrays:
            raise InvalidInputError(f"{self.where}.{name} is missing")
        values = self.arrays[name]
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise InvalidInputError(
                f"{self.where}.{name} is {values.dtype} of shape {list(values.shape)}; this plan's crossbars "
                f"hold {list(shape)}: measure what `hetc partition --conductances` wrote for it"
            )
        return values


class MeasuredConductances:
    """The folder.

    Args:
        folder: The folder.

    Raises:
        UsageError: No such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(
                f"conductances {folder}: no such folder; give one with a UNIT.safetensors for each analog "
                "unit, as `hetc partition --conductances` writes it"
            )
        self.folder = folder

    def digest(self, units: Iterable[str]) -> str:
        """Sha256 over the hashes of the units' files.

        Raises:
            InvalidInputError: A unit has none.
        """
        lines = [f"{unit} {sha256(self._file(unit))}\n" for unit in sorted(units)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def read(self, unit: str, projection: str) -> MeasuredMatrix:
        """One matrix of a unit, such as its `up_proj`.

        Raises:
            InvalidInputError: No file, or no safetensors file, or a g_max that is none.
        """
        path = self._file(unit)
        prefix = f"{projection}."
        metadata, arrays = read_tensors(path, "conductances", prefix)
        g_max = None
        if (text := metadata.get(G_MAX_KEY)) is not None:
            try:
                g_max = float(text)
            except ValueError:
                g_max = math.nan
            if not 0 < g_max < math.inf:
                raise InvalidInputError(f"conductances {path}: {G_MAX_KEY} is {text!r}, no number above 0")
        found = {name.removeprefix(prefix): values for name, values in arrays.items()}
        return MeasuredMatrix(f"conductances {path}: {projection}", found, g_max)

    def _file(self, unit: str) -> Path:
        path = self.folder / f"{unit}.safetensors"
        if not path.is_file():
            raise InvalidInputError(
                f"conductances {self.folder}: the analog unit {unit!r} has no {path.name} there; measure it, "
                f"or keep it digital: --digital {unit}"
            )
        return path
