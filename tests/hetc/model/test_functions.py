"""Functions of a model: how far they may grow, and that what they hold is found."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from models import moe_model
from onnx import helper

from hetc.base.errors import InvalidInputError
from hetc.compiler.loading import load_moe_model
from hetc.model.load import load_model
from hetc.passes.analysis.find_units import find_units


def calling(called: list[str], name: str) -> onnx.FunctionProto:
    """A function that calls others one after the other."""
    values = ["x", *(f"v{index}" for index in range(len(called)))]
    nodes = [
        helper.make_node(one, [values[index]], [values[index + 1]], domain="" if one == "Relu" else "own")
        for index, one in enumerate(called)
    ]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["x"], [values[-1]], nodes, imports)


def with_functions(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    proto = ir.to_proto(moe_model())
    proto.functions.extend(functions)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


def test_functions_that_double_forty_times() -> None:
    levels = [calling(["Relu"], "f0")]
    levels += [calling([f"f{level}"] * 2, f"f{level + 1}") for level in range(40)]
    with pytest.raises(InvalidInputError, match=r"function own::f\d+ grows to 8,388,608 nodes"):
        load_model(with_functions(*levels))


def test_functions_that_call_each_other() -> None:
    with pytest.raises(InvalidInputError, match="call each other in a circle"):
        load_model(with_functions(calling(["g"], "f"), calling(["f"], "g")))


def test_a_long_chain_of_functions_is_taken(tmp_path: Path) -> None:
    chain = [calling(["Relu"], "f0"), *(calling([f"f{n}"], f"f{n + 1}") for n in range(2000))]
    load_model(with_functions(*chain))


def test_products_in_functions_are_units() -> None:
    """PyTorch's exporter can leave each module a function."""
    expected = [(unit.id, unit.parameters) for unit in find_units(moe_model())]
    model = moe_model()
    project = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="linear")
    x, weight = (ir.val(name) for name in ("x", "w"))
    product = ir.node("MatMul", [x, weight])
    project.inputs.extend([x, weight])
    project.append(product)
    project.outputs.append(product.outputs[0])
    function = ir.Function("own", "linear", graph=project, attributes=[])
    model.functions[function.identifier()] = function
    model.opset_imports["own"] = 1
    for node in list(model.graph):
        if node.op_type == "MatMul":
            node.domain, node.op_type = "own", "linear"
    assert [(unit.id, unit.parameters) for unit in find_units(load_moe_model(model).model)] == expected
