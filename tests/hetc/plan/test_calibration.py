"""Calibrations: exact merging, round trips, and what ranges come from them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save_file

from hetc.base.errors import InvalidInputError, UsageError
from hetc.plan.calibration import (
    UNITS_PER_ONE,
    Calibration,
    Routing,
    Statistics,
    parse_bound_rule,
    parse_range_rule,
)


def seen(x: np.ndarray) -> Statistics:
    """What a recorder should have counted for one vector `x`, float32."""
    bins, counts = np.unique(np.abs(x).view(np.uint32) >> 16, return_counts=True)
    wide = x.astype(np.float64)
    return Statistics(
        rows=1,
        elements=x.size,
        total=sum(int(value) for value in np.rint(wide * UNITS_PER_ONE)),
        squares=sum(int(value) for value in np.rint(wide * wide * UNITS_PER_ONE)),
        bins=Counter(dict(zip(bins.tolist(), counts.tolist(), strict=True))),
    )


def calibration(*vectors: np.ndarray) -> Calibration:
    whole = Calibration("abc", 512)
    for vector in vectors:
        part = Calibration("abc", 512, tokens=1, statistics={("layers.0.experts.0", "in"): [seen(vector)]})
        part.routing["layers.0.experts.0"] = Routing(1, 5)
        whole.merge(part)
    return whole


@given(
    st.lists(arrays.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)), min_size=2, max_size=6)
)
def test_the_order_of_merging_does_not_matter(vectors: list[np.ndarray]) -> None:
    assert calibration(*vectors) == calibration(*reversed(vectors))


def test_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = calibration(*random.standard_normal((3, 40)).astype(np.float32))
    whole.statistics["layers.0.experts.0", "in"][0].squares = 2**100  # wider than any integer of a tensor
    whole.save(tmp_path / "c.safetensors")
    assert Calibration.load(tmp_path / "c.safetensors") == whole


def test_ranges_are_those_of_the_numbers() -> None:
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * 3 + 1
    one = seen(x)
    assert one.deviation == pytest.approx(x.std(), rel=1e-4)
    # A bin is at most 1/128 wide, and the upper edge is taken.
    for share in (0.5, 0.99, 1.0):
        exact = np.quantile(np.abs(x), share)
        assert exact <= one.quantile(share) * (1 + 1e-6)
        assert one.quantile(share) <= exact * (1 + 1 / 64)


@pytest.mark.parametrize(
    "text", ["", "max:3", "std", "std:0", "std:-1", "quantile:1.1", "quantile:x", "mean:2"]
)
def test_unknown_rules_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="quantile:SHARE"):
        parse_range_rule(text)


@pytest.mark.parametrize("text", ["", "scale", "scale:0", "std:-1", "std:inf", "max:2", "scale:x"])
def test_unknown_bound_rules_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="scale:LAMBDA"):
        parse_bound_rule(text)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_root_mean_square_holds_for_any_size(size: float) -> None:
    x = (np.random.default_rng(0).standard_normal(10_000) * size).astype(np.float32)
    expected = np.sqrt(np.mean(x.astype(np.float64) ** 2))
    assert seen(x).root_mean_square == pytest.approx(expected, rel=4e-3)


def test_other_models_do_not_merge() -> None:
    with pytest.raises(InvalidInputError, match="different models"):
        Calibration("abc", 512).merge(Calibration("abd", 512))
    with pytest.raises(InvalidInputError, match="different models"):
        Calibration("abc", 512).merge(Calibration("abc", 256))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Calibration.load(tmp_path / "nowhere")
    (tmp_path / "text").write_text("hello, this is no calibration")
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        Calibration.load(tmp_path / "text")


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({"format": "hetc calibration 0"}, {}, "format is"),
        ({"tile_rows": 0}, {}, "tile_rows is 0; it must be at least 1"),
        ({"slices": [["u", "s", 1, 5, "x", "0"]]}, {}, "it must be a whole number as text"),
        ({"slices": []}, {}, "ends must divide"),
        ({"slices": [["u", "s", 1, 6, "0", "0"]]}, {}, "don't add up to 6"),
        ({"routing": {"u": [1]}}, {}, "a list of at least 2"),
        ({}, {"ends": np.array([3])}, "ends must divide its 2 bins"),
        ({}, {"counts": np.array([2, -3])}, "'counts' must hold int64 numbers from 0 on"),
        ({}, {"counts": np.array([2.0, 3.0])}, "'counts' must hold int64"),
        ({}, {"counts": np.array([5])}, "a count for each"),
        ({}, {"bins": np.array([1, 1 << 40])}, "bins must be 0 to"),
        ({}, {"bins": np.array([1, 1])}, "don't add up"),
    ],
)
def test_recordings_that_do_not_add_up_are_refused(
    tmp_path: Path, header: dict[str, object], arrays: dict[str, np.ndarray], message: str
) -> None:
    record = {"format": "hetc calibration 1", "sha256": "abc", "tile_rows": 512, "tokens": 1, "routing": {}}
    record |= {"slices": [["u", "s", 1, 5, "0", "0"]], **header}
    tensors = {"bins": np.array([1, 2]), "counts": np.array([2, 3]), "ends": np.array([2]), **arrays}
    save_file(tensors, tmp_path / "calibration", {"calibration": json.dumps(record)})
    with pytest.raises(InvalidInputError, match=message):
        Calibration.load(tmp_path / "calibration")
