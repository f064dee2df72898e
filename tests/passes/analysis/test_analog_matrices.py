"""What a lowered graph says of its crossbars, where single neurons are digital."""

from __future__ import annotations

import numpy as np
import pytest
from models import moe_model, with_static_converters

from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import LoadedModel, load_model
from hetc.model.weights import read_tensor
from hetc.passes.analysis.analog_matrices import (
    column_norms,
    crossbar_slices,
    distinct_matrices,
    named_inputs,
    weight_scale,
)
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.plan.plan import Plan
from hetc.plan.targets import digital_lines
from hetc.runtimes.reference import split

SIZES = {"layers": 1, "hidden": 40, "inter": 24}


def lowered(scale_mode: str = "column", **placement: object) -> tuple[LoadedModel, Plan]:
    loaded = load_model(moe_model(**SIZES))
    profile = Profile(tile_rows=16, tile_columns=7, scale_mode=scale_mode)
    asked = Placement(granularity="neuron", **placement)  # type: ignore[arg-type]
    plan = with_static_converters(make_plan(loaded, asked, profile), "std:3", 3)
    LowerAnalog(plan)(loaded.model)
    return loaded, plan


@pytest.mark.parametrize("placement", [{"digital_frac": 0.3}, {"budget": "parameters:12.5%"}], ids=str)
def test_lines_are_those_that_the_plan_makes_digital(placement: dict[str, object]) -> None:
    loaded, plan = lowered(**placement)
    moved = set()
    for matrix in distinct_matrices(loaded.model.graph):
        unit = plan.by_id[matrix.unit]
        planned = next(one for one in unit.matrices if one.stream == matrix.stream)
        lines = digital_lines(plan, unit, planned)
        for side, mask in (("inputs", matrix.digital_inputs), ("outputs", matrix.digital_outputs)):
            np.testing.assert_array_equal(mask, lines.get(f"digital_{side}", np.zeros(len(mask), bool)))
            moved |= {(matrix.weight_input, side)} if mask.any() else set()
        layout = matrix.layout
        assert sorted(np.concatenate(layout.rows)) == list(np.flatnonzero(~matrix.digital_inputs))
        assert list(layout.columns) == list(np.flatnonzero(~matrix.digital_outputs))
    head = {("w", "outputs")} if "budget" in placement else set()
    expert = {("gate", "outputs"), ("up", "outputs"), ("down", "inputs")}
    assert moved == (head or expert)


@pytest.mark.parametrize("scale_mode", ["column", "tile"])
def test_scales_norms_and_bounds_leave_out_what_is_digital(scale_mode: str) -> None:
    loaded, _ = lowered(scale_mode, digital_frac=0.3)
    smaller = 0
    for matrix in distinct_matrices(loaded.model.graph):
        w = np.array(read_tensor(loaded.model, matrix.weight.name or "")).T
        whole = np.stack([np.abs(w[rows]).max(axis=0) for rows in split(len(w), 16)])
        w[matrix.digital_inputs] = np.nan
        w[:, matrix.digital_outputs] = np.nan
        columns = ~matrix.digital_outputs
        scale, norms = weight_scale(loaded.model, matrix), column_norms(loaded.model, matrix)
        bound = named_inputs(matrix.node)[matrix.input_name("adc_bound")].const_value.numpy()
        for index, rows in enumerate(split(len(w), 16)):
            expected = np.nanmax(np.abs(w[rows][:, columns]), axis=0)
            if scale_mode == "tile":
                held = np.where(columns, np.nan_to_num(np.abs(w[rows])).max(axis=0), 0)
                for tile in split(w.shape[1], 7):
                    held[tile] = held[tile].max()
                expected = held[columns]
            np.testing.assert_array_equal(scale[index][columns], expected)
            squares = np.nansum(w[rows][:, columns] ** 2, axis=0)
            np.testing.assert_allclose(norms[index][columns], np.sqrt(squares), rtol=1e-6)
            np.testing.assert_allclose(bound[index][columns], 3 * np.sqrt(squares), rtol=1e-6)
            smaller += int((expected < whole[index][columns]).sum())
    assert smaller


def test_slices_hold_zeros_where_a_line_is_digital() -> None:
    loaded, _ = lowered(digital_frac=0.3)
    for matrix in distinct_matrices(loaded.model.graph):
        ones = np.ones(read_tensor(loaded.model, matrix.weight.name or "").shape, np.float16)
        held = np.concatenate(list(crossbar_slices(matrix, ones)))
        assert held.dtype == np.float32 and held.shape == matrix.shape
        np.testing.assert_array_equal(held == 0, matrix.digital_inputs[:, None] | matrix.digital_outputs)
        assert ones.all()
