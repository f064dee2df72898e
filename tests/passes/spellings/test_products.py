"""Which part of a file a product reads: views by offset and length, also after raising a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from layer_builder import Layer
from spelled_layers import spell

from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.spellings.initializers import as_initializer
from hetc.passes.spellings.products import find_products


@pytest.mark.parametrize("spelling", ["gathered", "loop", "stacked_parts"])
def test_experts_are_places_in_the_file_of_the_stack(spelling: str, tmp_path: Path) -> None:
    model, _ = spell(spelling, Layer(fused=True, bias=True))
    stacks = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}  # type: ignore[union-attr]
    ir.save(model, tmp_path / "model.onnx", external_data="weights.bin", size_threshold_bytes=64)
    model = ir.load(tmp_path / "model.onnx")
    assert RaiseExperts()(model).modified
    data = (tmp_path / "weights.bin").read_bytes()
    for name, part, rows in (
        ("gate_up", "gate_proj", slice(0, 5)),
        ("gate_up", "up_proj", slice(5, None)),
        ("down", "down_proj", slice(None)),
    ):
        for expert in range(4):
            tensor = model.graph.initializers[f"layers.7.experts.{expert}.{part}.weight"].const_value
            assert isinstance(tensor, ir.ExternalTensor)
            assert tensor.offset is not None and tensor.length is not None
            stored = np.frombuffer(data[tensor.offset : tensor.offset + tensor.length], np.float32)
            expected = stacks[f"model.layers.7.mlp.experts.{name}"][expert, rows]
            np.testing.assert_array_equal(stored.reshape(tensor.shape.numpy()), expected)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ([("Slice", [1], [2], [0]), ("Squeeze", [0])], lambda w: w[1]),
        ([("Gather", np.int64(-1))], lambda w: w[2]),
        ([("Transpose", (0, 2, 1)), ("Gather", np.int64(1))], lambda w: w[1].T),
        ([("Reshape", [12, 5]), ("Slice", [4], [8], [0])], lambda w: w[1]),
    ],
)
def test_view_is_what_arrives(cut: list[tuple[Any, ...]], expected: Any) -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    tensor = ir.tensor(array, name="w")
    value = ir.val("w", tensor.dtype, tensor.shape, const_value=tensor)
    graph = ir.Graph([], [], nodes=[], initializers=[value], opset_imports={"": 18})
    for operator, *arguments in cut:
        if operator == "Transpose":
            node = ir.node(operator, [value], {"perm": arguments[0]})
        else:
            constants = [ir.val("", const_value=ir.tensor(np.asarray(a, np.int64))) for a in arguments]
            for number, constant in enumerate(constants):
                constant.name = f"{operator}{number}"
                graph.register_initializer(constant)
            node = ir.node(operator, [value, *constants])
        graph.append(node)
        value = node.outputs[0]
    product = ir.node("MatMul", [ir.val("x"), value])
    graph.append(product)
    (found,) = find_products(graph)
    np.testing.assert_array_equal(found.matrix(), expected(array))
    as_stored = as_initializer(found.weight, found.matrix())
    assert as_stored.const_value is not None
    np.testing.assert_array_equal(as_stored.const_value.numpy(), expected(array))
