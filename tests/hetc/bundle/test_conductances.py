"""What is written for a device toolchain gives the clean weights back, tile by tile."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from models import moe_model, with_static_converters
from safetensors.numpy import load_file

from hetc.base.errors import UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.bundle.conductances import TILE_MAP, write_conductances
from hetc.compiler.compile import compile, plan_model
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.weights import read_matrix, read_tensor
from hetc.passes.analysis.analog_matrices import distinct_matrices
from hetc.runtimes.reference import split

PROFILE = Profile(tile_rows=16, tile_columns=20)


def compiled(folder: Path, profile: Profile = PROFILE) -> Bundle:
    return compile(
        moe_model(hidden=40, inter=24), folder, digital_frac="0.5", analog=["*.attention"], profile=profile
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compiled(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="module")
def written(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "conductances"
    write_conductances(load_model(bundle.graph_file).model, bundle, folder)
    return folder


def test_pairs_stand_for_the_clean_weights(bundle: Bundle, written: Path) -> None:
    model = load_model(bundle.graph_file).model
    analog = [unit for unit in bundle.plan.units if unit.target == "analog"]
    assert {unit.kind for unit in analog} == {"expert", "attention"}
    for unit in analog:
        arrays = load_file(written / f"{unit.id}.safetensors")
        for matrix in unit.matrices:
            plus, minus, scale, bound = (
                arrays.pop(f"{matrix.projection}.{name}")
                for name in ("g_plus", "g_minus", "weight_scale", "adc_bound")
            )
            w = read_matrix(model, matrix).T
            assert plus.min() == minus.min() == 0
            assert not (plus * minus).any()
            np.testing.assert_array_equal(bound, np.float32(10) * scale)
            for rows, alpha in zip(split(matrix.inputs, 16), scale, strict=True):
                np.testing.assert_allclose((plus - minus)[rows] / 25 * alpha, w[rows], atol=1e-6)
                # The largest weight of every column slice takes the whole window.
                np.testing.assert_allclose(np.maximum(plus, minus)[rows].max(axis=0), 25, rtol=1e-6)
            np.testing.assert_array_equal(arrays.pop(f"{matrix.projection}.rows"), np.arange(matrix.inputs))
            np.testing.assert_array_equal(
                arrays.pop(f"{matrix.projection}.columns"), np.arange(matrix.outputs)
            )
        assert not arrays, "no input range: it follows each vector"


def test_tiles_cover_every_weight_once(bundle: Bundle, written: Path) -> None:
    with (written / TILE_MAP).open(newline="") as file:
        tiles = list(csv.DictReader(file))
    assert list(tiles[0]) == ["unit", "projection", "rows", "columns", "tile"]
    assert [tile["tile"] for tile in tiles] == [str(index) for index in range(len(tiles))]
    for unit in [unit for unit in bundle.plan.units if unit.target == "analog"]:
        own = [tile for tile in tiles if tile["unit"] == unit.id]
        assert len(own) == unit.tiles
        for matrix in unit.matrices:
            covered = np.zeros((matrix.inputs, matrix.outputs), int)
            for tile in own:
                if tile["projection"] == matrix.projection:
                    rows, columns = (slice(*map(int, tile[side].split(":"))) for side in ("rows", "columns"))
                    assert rows.stop - rows.start <= 16
                    assert columns.stop - columns.start <= 20
                    covered[rows, columns] += 1
            assert (covered == 1).all()
    assert {tile["unit"] for tile in tiles} == {u.id for u in bundle.plan.units if u.target == "analog"}


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_digital_neurons_leave_their_tiles(tmp_path: Path, fraction: float) -> None:
    source = moe_model(hidden=40, inter=24)
    placement = {"granularity": "neuron", "digital_frac": fraction}
    _, dynamic = plan_model(source, profile=Profile(tile_rows=4, tile_columns=5), **placement)
    bundle = compile(source, tmp_path / "bundle", plan=with_static_converters(dynamic, "scale:3", 3.0))
    model = load_model(bundle.graph_file).model
    write_conductances(model, bundle, tmp_path / "out")
    with (tmp_path / "out" / TILE_MAP).open(newline="") as file:
        tiles = list(csv.DictReader(file))
    sizes, emptied = set(), 0
    for analog in distinct_matrices(model.graph):
        unit = bundle.plan.by_id[analog.unit]
        projection = next(one.projection for one in unit.matrices if one.stream == analog.stream)
        arrays = load_file(tmp_path / "out" / f"{unit.id}.safetensors")
        plus, minus, scale, bound, ranges, rows, columns = (
            arrays[f"{projection}.{name}"]
            for name in ("g_plus", "g_minus", "weight_scale", "adc_bound", "input_range", "rows", "columns")
        )
        assert rows.dtype == columns.dtype == np.int32
        np.testing.assert_array_equal(rows, np.flatnonzero(~analog.digital_inputs))
        np.testing.assert_array_equal(columns, np.flatnonzero(~analog.digital_outputs))
        w = read_tensor(model, analog.weight.name or "").T[rows][:, columns]
        covered, slices = np.zeros(w.shape, int), set()
        for tile in tiles:
            if (tile["unit"], tile["projection"]) == (unit.id, projection):
                own = tuple(slice(*map(int, tile[side].split(":"))) for side in ("rows", "columns"))
                covered[own] += 1
                slices.add((own[0].start, own[0].stop))
                sizes.add(own[0].stop - own[0].start)
                # A tile's lines come from one slice and one column tile of the whole matrix.
                for lines, whole, most in zip((rows, columns), analog.shape, (4, 5), strict=True):
                    taken = lines[own[0] if lines is rows else own[1]]
                    assert any(
                        part.start <= taken.min() and taken.max() < part.stop for part in split(whole, most)
                    )
        assert (covered == 1).all()
        assert len(slices) == len(scale) == len(bound) == len(ranges)
        emptied += len(slices) < len(split(analog.shape[0], 4))
        np.testing.assert_allclose(bound, 3 * scale, rtol=1e-6)
        for index, (start, end) in enumerate(sorted(slices)):
            difference = (plus - minus)[start:end]
            np.testing.assert_allclose(difference / 25 * scale[index], w[start:end], atol=1e-6)
            np.testing.assert_allclose(np.abs(difference).max(axis=0), 25, rtol=1e-6)
    assert len(sizes) > 2
    assert (emptied > 0) == (fraction == 0.9)


def test_another_window(bundle: Bundle, tmp_path: Path) -> None:
    write_conductances(load_model(bundle.graph_file).model, bundle, tmp_path / "out", g_max=20.7)
    arrays = load_file(tmp_path / "out" / "layers.0.attention.safetensors")
    assert np.maximum(arrays["q_proj.g_plus"], arrays["q_proj.g_minus"]).max() == np.float32(20.7)


def test_devices_that_never_reach_zero(tmp_path: Path) -> None:
    reram = compiled(tmp_path / "bundle", Profile(noise=NOISE_MODELS["reram_cmo"]))
    write_conductances(load_model(reram.graph_file).model, reram, tmp_path / "out")
    arrays = load_file(tmp_path / "out" / "layers.0.attention.safetensors")
    plus, minus = arrays["q_proj.g_plus"], arrays["q_proj.g_minus"]
    np.testing.assert_allclose(np.minimum(plus, minus), 9, rtol=1e-6)
    np.testing.assert_allclose(np.maximum(plus, minus).max(axis=0), 88.2, rtol=1e-6)


def test_refused_for_baked_bundles(bundle: Bundle, tmp_path: Path) -> None:
    baked = bake_bundle(bundle, tmp_path / "baked")
    with pytest.raises(UsageError, match="its weights are not targets"):
        write_conductances(load_model(baked.graph_file).model, baked, tmp_path / "out")


@pytest.mark.parametrize("g_max", [0.0, -1.0, float("nan"), float("inf")])
def test_window_must_be_positive(bundle: Bundle, tmp_path: Path, g_max: float) -> None:
    with pytest.raises(UsageError, match="--g-max"):
        write_conductances(load_model(bundle.graph_file).model, bundle, tmp_path / "out", g_max=g_max)


def test_refused_without_pairs_of_devices(tmp_path: Path) -> None:
    gaussian = compiled(tmp_path / "bundle", Profile(noise=NOISE_MODELS["gaussian"]))
    with pytest.raises(UsageError, match="no pairs of devices"):
        write_conductances(load_model(gaussian.graph_file).model, gaussian, tmp_path / "out")
