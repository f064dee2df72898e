"""Partitions of a bundle whose neurons were placed one by one: an analog and a digital part of an expert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from equality import assert_mostly_equal
from models import moe_model
from partition_runs import open_plain, run_parts

from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.bundle.files import PARTITIONS
from hetc.bundle.partition import partition_bundle
from hetc.compiler.compile import compile
from hetc.hardware.profile import Profile

IDS = {"input_ids": np.arange(11)}


def compiled(folder: Path, dtype: Any = np.float32, fraction: float = 0.3, **choices: Any) -> Bundle:
    model = moe_model(hidden=40, inter=24, dtype=dtype)
    profile = Profile(tile_rows=16, noise_scale=2.0)
    return compile(model, folder, granularity="neuron", digital_frac=fraction, profile=profile, **choices)


@pytest.mark.parametrize("per_expert", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_parts_in_order_equal_the_whole(tmp_path: Path, dtype: Any, per_expert: bool) -> None:
    bundle = compiled(tmp_path / "whole", dtype)
    parts = partition_bundle(bundle, tmp_path / "parts", per_expert=per_expert)
    whole = open_plain(bundle.path / "model.onnx").run(None, IDS)[0]
    actual = run_parts(tmp_path / "parts", IDS)[0]
    if dtype == np.float32:  # digital neurons are standard operators, whose sums have another order
        assert_mostly_equal(actual, whole)
    else:
        np.testing.assert_array_equal(actual, whole)
    assert len(parts) == (5 + 2 * 2 * 4 - 2 if per_expert else 7)


def test_experts_are_in_two_parts_and_their_sum_is_named(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "whole")
    partition_bundle(bundle, tmp_path / "parts", per_expert=True)
    manifest = json.loads((tmp_path / "parts" / PARTITIONS).read_text())
    divided = [unit for unit in bundle.plan.units if 0 < unit.digital_share < 1]
    assert [one["unit"] for one in manifest["sums"]] == [unit.id for unit in divided]
    maker = {name: part for part in manifest["partitions"] for name in part["outputs"]}
    for one, unit in zip(manifest["sums"], divided, strict=True):
        analog, digital = maker[one["analog"]], maker[one["digital"]]
        assert (analog["target"], digital["target"]) == ("analog", "digital")
        assert analog["units"] == digital["units"] == [unit.id]
        assert digital["index"] == analog["index"] + 1
        assert digital["inputs"] == analog["inputs"]
        later = [part for part in manifest["partitions"] if one["analog"] in part["inputs"]]
        assert [part["target"] for part in later] == ["digital"]
        assert one["digital"] in later[0]["inputs"]
        model = onnx.load(tmp_path / "parts" / digital["model"])
        onnx.checker.check_model(str(tmp_path / "parts" / digital["model"]))
        assert [node.op_type for node in model.graph.node] == ["Expert"]
        shapes = sorted(tuple(tensor.dims) for tensor in model.graph.initializer)
        count = unit.digital_neurons
        assert shapes == sorted([(count, 40), (count, 40), (40, count)])


def test_baked_parts_need_no_library(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "noisy")
    baked = bake_bundle(bundle, tmp_path / "baked", seed=3)
    partition_bundle(baked, tmp_path / "parts")
    whole = bundle.session(seed=3).run(None, IDS)[0]
    assert_mostly_equal(run_parts(tmp_path / "parts", IDS, library=False)[0], whole)


def test_rows_of_a_head_stay_in_its_analog_part(tmp_path: Path) -> None:
    model = moe_model(hidden=40, inter=24)
    profile = Profile(tile_rows=16)
    budget = "parameters:12.5%"
    bundle = compile(model, tmp_path / "whole", granularity="neuron", budget=budget, profile=profile)
    assert 0 < bundle.plan.by_id["lm_head"].digital_share < 1
    assert partition_bundle(bundle, tmp_path / "parts") == bundle.plan.partitions
    whole = open_plain(bundle.path / "model.onnx").run(None, IDS)[0]
    np.testing.assert_array_equal(run_parts(tmp_path / "parts", IDS)[0], whole)
    assert json.loads((tmp_path / "parts" / PARTITIONS).read_text())["sums"] == []
