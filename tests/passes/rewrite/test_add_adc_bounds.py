"""ADC bounds: what a plan's rule makes of the weights, and that everything that computes agrees on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from equality import assert_mostly_equal
from models import moe_model, with_static_converters

from hetc.base.errors import InvalidInputError
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import LoadedModel, load_model
from hetc.passes.analysis.analog_matrices import analog_nodes, named_inputs
from hetc.passes.rewrite.add_adc_bounds import AddAdcBounds
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.plan.plan import Plan
from hetc.runtimes.onnxruntime.session import open_session
from hetc.runtimes.reference import Crossbar, analog_expert, split

IDS = {"input_ids": np.arange(11)}
SIZES = {"layers": 1, "hidden": 40, "inter": 24}


def planned(scale_mode: str = "column") -> tuple[LoadedModel, Plan]:
    loaded = load_model(moe_model(**SIZES))
    profile = Profile(tile_rows=16, tile_columns=7, scale_mode=scale_mode)
    return loaded, make_plan(loaded, Placement(digital_frac=0, analog=("lm_head",)), profile)


def test_profiles_bound_adds_nothing() -> None:
    loaded, plan = planned()
    LowerAnalog(plan)(loaded.model)
    assert not AddAdcBounds(plan)(loaded.model).modified
    assert not [name for name in loaded.model.graph.initializers if "bound" in name]


@pytest.mark.parametrize("rule", ["scale:3", "std:3"])
@pytest.mark.parametrize("scale_mode", ["column", "tile"])
def test_bounds_are_those_of_the_weights(rule: str, scale_mode: str) -> None:
    loaded, plan = planned(scale_mode)
    LowerAnalog(with_static_converters(plan, rule, 3))(loaded.model)
    checked = 0
    for node in analog_nodes(loaded.model.graph):
        inputs = named_inputs(node)
        for name in {"w", "gate", "up", "down"} & set(inputs):
            w = inputs[name].const_value.numpy().T
            bound = inputs["adc_bound" if name == "w" else f"{name}_adc_bound"].const_value.numpy()
            for index, rows in enumerate(split(len(w), 16)):
                expected = np.abs(w[rows]).max(axis=0)
                if scale_mode == "tile":
                    for tile in split(w.shape[1], 7):
                        expected[tile] = expected[tile].max()
                if rule == "std:3":
                    expected = np.sqrt((w[rows] ** 2).sum(axis=0))
                np.testing.assert_allclose(bound[index], 3 * expected, rtol=1e-6)
                checked += 1
    assert checked == 4 * (3 + 3 + 2) + 3


@pytest.mark.parametrize("rule", ["scale:1.5", "std:2"])
def test_reference_kernels_and_bodies_agree(tmp_path: Path, rule: str) -> None:
    loaded, plan = planned()
    LowerAnalog(with_static_converters(plan, rule, 0.6, input_range=1.1))(loaded.model)
    node = next(iter(analog_nodes(loaded.model.graph)))
    for value in (node.inputs[0], node.outputs[0]):
        value.shape, value.dtype = ir.Shape([None, SIZES["hidden"]]), ir.DataType.FLOAT
        loaded.model.graph.outputs.append(value)
    ir.save(loaded.model, tmp_path / "model.onnx")
    kernels = open_session(tmp_path / "model.onnx", {"hetc.mode": "converters"}).run(None, IDS)
    bodies = open_session(tmp_path / "model.onnx", library=False).run(None, IDS)
    for kernel, body in zip(kernels, bodies, strict=True):
        assert_mostly_equal(kernel, body)
    inputs = {name: value.const_value for name, value in named_inputs(node).items() if name != "x"}
    reference = analog_expert(
        kernels[1],
        crossbar=Crossbar("converters", tile_rows=16),
        streams=(0, 1, 2),
        activation="silu",
        transpose_weight=True,
        **{name: tensor.numpy() for name, tensor in inputs.items() if tensor is not None},
    )
    assert len(reference) > 0
    assert_mostly_equal(kernels[2], reference)


def test_units_without_bounds_are_refused_by_name_of_the_trouble() -> None:
    loaded, plan = planned()
    static = with_static_converters(plan, "std:3", 3)
    units = tuple(replace(unit, adc_bounds={}) if unit.id == "lm_head" else unit for unit in static.units)
    with pytest.raises(InvalidInputError, match="calibrated inputs"):
        LowerAnalog(replace(static, units=units))(loaded.model)
