"""Calibrations: what entered each crossbar and how often each expert was chosen, and ranges from that.

|x| is counted in bins, the top 16 bits of its float32, and sums are integers in units of 2^-24, so merging
two recordings is adding, in any order.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, OutputError, UsageError
from hetc.base.quantity import parse_share
from hetc.base.reading import parse_json
from hetc.base.schema import check_record
from hetc.base.tensors import read_tensors, save_tensors

__all__ = ["Calibration", "Routing", "Site", "Statistics", "parse_bound_rule", "parse_range_rule"]

UNITS_PER_ONE = 1 << 24
FORMAT = "hetc calibration 1"
LARGEST_BIN = 0x7F7F
"""Top 16 bits of the largest finite float32."""


@dataclass
class Statistics:
    """What one K-slice of one crossbar input saw.

    Attributes:
        rows: Number of vectors.
        elements: Number of finite elements.
        total: Sum of x, in units of 2^-24.
        squares: Sum of x^2, in units of 2^-24.
        bins: Count of |x| by the top 16 bits of its float32.
    """

    rows: int = 0
    elements: int = 0
    total: int = 0
    squares: int = 0
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, other: Statistics) -> None:
        """Merges another recording into this one."""
        self.rows += other.rows
        self.elements += other.elements
        self.total += other.total
        self.squares += other.squares
        self.bins.update(other.bins)

    @property
    def deviation(self) -> float:
        """Standard deviation of x."""
        mean = self.total / UNITS_PER_ONE / self.elements
        return math.sqrt(max(0.0, self.squares / UNITS_PER_ONE / self.elements - mean * mean))

    @property
    def root_mean_square(self) -> float:
        """Of x, from the middles of the bins: true to 0.4 %, however small x is."""
        edges = np.array([(index << 16, (index + 1) << 16) for index in self.bins], np.uint32)
        middles = edges.view(np.float32).astype(np.float64).reshape(-1, 2).mean(axis=1)
        counts = np.array(list(self.bins.values()), np.float64)
        return math.sqrt(float(counts @ middles**2) / self.elements)

    def quantile(self, share: float) -> float:
        """The upper edge of the bin that holds the `share` quantile of |x|; 1 gives the maximum's bin."""
        wanted, seen = share * self.elements, 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen >= wanted:
                break
        return float(np.array([(index + 1) << 16], np.uint32).view(np.float32)[0])


@dataclass
class Routing:
    """How an expert was used: routed tokens, and the sum of their routing weights in units of 2^-24."""

    tokens: int = 0
    weight: int = 0


Site = tuple[str, str]
"""A unit's id and which of its inputs: `in`, `mid`, or the name of a weight."""


def parse_range_rule(text: str) -> tuple[str, float]:
    """`max`, `std:KAPPA` or `quantile:SHARE` as name and number.

    Raises:
        UsageError: Something else.
    """
    name, number = _name_and_number(text)
    if text == "max":
        return name, 1.0
    if name == "quantile":
        with suppress(UsageError):
            number = parse_share(text.removeprefix("quantile:"))
    if (name == "std" and 0 < number < math.inf) or (name == "quantile" and 0 < number <= 1):
        return name, number
    raise UsageError(f"range rule {text!r} is not max, std:KAPPA (such as std:18) or quantile:SHARE")


def parse_bound_rule(text: str) -> tuple[str, float]:
    """`scale:LAMBDA` or `std:LAMBDA` as name and lambda.

    Raises:
        UsageError: Something else.
    """
    name, number = _name_and_number(text)
    if name in ("scale", "std") and 0 < number < math.inf:
        return name, number
    raise UsageError(f"ADC bound rule {text!r} is not scale:LAMBDA (such as scale:12) or std:LAMBDA")


def _name_and_number(rule: str) -> tuple[str, float]:
    """`NAME:NUMBER` in its parts; the number is NaN where there is none."""
    name, _, number = rule.partition(":")
    try:
        return name, float(number)
    except ValueError:
        return name, math.nan


@dataclass(repr=False)
class Calibration:
    """A recording of a model on calibration text.

    Attributes:
        sha256: Of the model file.
        tile_rows: The tile that the K-slices come from.
        tokens: Number of tokens recorded.
        statistics: One entry per K-slice, by site.
        routing: Use of each expert, by unit id.
    """

    sha256: str
    tile_rows: int
    tokens: int = 0
    statistics: dict[Site, list[Statistics]] = field(default_factory=dict)
    routing: dict[str, Routing] = field(default_factory=dict)

    def __repr__(self) -> str:
        inputs, experts = len(self.statistics), len(self.routing)
        return f"Calibration({self.tokens} tokens, {inputs} crossbar inputs, {experts} experts)"

    def merge(self, other: Calibration) -> None:
        """Adds another recording of the same model and tile.

        Raises:
            InvalidInputError: It is of another model or tile.
        """
        if (self.sha256, self.tile_rows) != (other.sha256, other.tile_rows):
            raise InvalidInputError("calibrations of different models or tiles cannot be merged")
        self.tokens += other.tokens
        for site, slices in other.statistics.items():
            own = self.statistics.setdefault(site, [Statistics() for _ in slices])
            for mine, theirs in zip(own, slices, strict=True):
                mine.add(theirs)
        for unit, use in other.routing.items():
            mine_use = self.routing.setdefault(unit, Routing())
            mine_use.tokens += use.tokens
            mine_use.weight += use.weight

    def add_recording(self, file: Path) -> None:
        """Adds the lines that the kernels of one session wrote (session entry `hetc.stats_file`).

        A kernel writes `unit site slices` when it begins and one line for each slice when it ends, so what a
        full disk swallowed is noticed.

        Raises:
            OutputError: Lines are missing.
        """
        missing = 0
        try:
            for line in file.read_text("utf-8").split("\n")[:-1]:
                unit, site, *numbers = line.split("\t")
                missing += int(numbers[0]) if len(numbers) == 1 else -1
                if len(numbers) > 1 and numbers[1] != "0":
                    self._add_line((unit, site), *numbers)
        except ValueError as error:
            raise OutputError(f"recordings in {file} are damaged ({error}); is the disk full?") from error
        if missing:
            raise OutputError(f"{missing} recordings could not be written to {file}; is the disk full?")

    def _add_line(
        self, site: Site, index: str, rows: str, elements: str, total: str, squares: str, bins: str
    ) -> None:
        pairs = (pair.split(":") for pair in bins.split())
        seen = Statistics(int(rows), int(elements), int(total), int(squares))
        seen.bins.update({int(key): int(count) for key, count in pairs})
        slices = self.statistics.setdefault(site, [])
        slices.extend(Statistics() for _ in range(len(slices), int(index) + 1))
        slices[int(index)].add(seen)

    def save(self, path: Path) -> None:
        """Writes calibration.safetensors: counts as int64, the wide sums and names as JSON metadata."""
        flat = [(site, one) for site, slices in self.statistics.items() for one in slices]
        header = {
            "format": FORMAT,
            "sha256": self.sha256,
            "tile_rows": self.tile_rows,
            "tokens": self.tokens,
            "slices": [
                [*site, one.rows, one.elements, str(one.total), str(one.squares)] for site, one in flat
            ],
            "routing": {unit: [use.tokens, str(use.weight)] for unit, use in self.routing.items()},
        }
        tensors = {
            "bins": np.array([key for _, one in flat for key in sorted(one.bins)], np.int64),
            "counts": np.array([one.bins[key] for _, one in flat for key in sorted(one.bins)], np.int64),
            "ends": np.cumsum([len(one.bins) for _, one in flat], dtype=np.int64),
        }
        save_tensors(path, tensors, {"calibration": json.dumps(header)})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Reads calibration.safetensors.

        Raises:
            UsageError: No such file.
            InvalidInputError: Not a calibration.
        """
        where = f"calibration {path}"
        metadata, arrays = read_tensors(path, "calibration")
        if "calibration" not in metadata:
            raise InvalidInputError(f"{where}: no calibration; `hetc calibrate` writes one")
        header = parse_json(metadata["calibration"], f"{where}: its header")
        check_record(header, "calibration", where)
        bins, counts, ends = (_integers(arrays, name, where) for name in ("bins", "counts", "ends"))
        starts = [0, *ends]
        if len(ends) != len(header["slices"]) or starts != sorted(starts) or starts[-1] != len(bins):
            raise InvalidInputError(f"{where}: ends must divide its {len(bins)} bins among the slices")
        if len(bins) != len(counts) or max(bins, default=0) > LARGEST_BIN:
            raise InvalidInputError(f"{where}: bins must be 0 to {LARGEST_BIN}, with a count for each")
        calibration = cls(header["sha256"], header["tile_rows"], header["tokens"])
        for start, end, (unit, site, rows, elements, total, squares) in zip(
            starts, ends, header["slices"], strict=False
        ):
            found = Counter(dict(zip(bins[start:end], counts[start:end], strict=True)))
            if sum(counts[start:end]) != elements or len(found) != end - start:
                raise InvalidInputError(f"{where}: bins of {unit} {site} don't add up to {elements} elements")
            seen = Statistics(rows, elements, int(total), int(squares), found)
            calibration.statistics.setdefault((unit, site), []).append(seen)
        for unit, (tokens, weight) in header["routing"].items():
            calibration.routing[unit] = Routing(tokens, int(weight))
        return calibration


def _integers(arrays: Mapping[str, NDArray[Any]], name: str, where: str) -> list[int]:
    array = arrays.get(name)
    if array is None or array.dtype != np.int64 or array.ndim != 1 or (array < 0).any():
        raise InvalidInputError(f"{where}: array {name!r} must hold int64 numbers from 0 on")
    numbers: list[int] = array.tolist()
    return numbers
