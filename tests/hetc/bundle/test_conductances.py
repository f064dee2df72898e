"""What is written for a device toolchain gives the clean weights back, tile by tile."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from models import moe_model
from safetensors.numpy import load_file

from hetc.base.errors import UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.bundle.conductances import TILE_MAP, write_conductances
from hetc.compiler.compile import compile
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.model.weights import read_matrix
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
