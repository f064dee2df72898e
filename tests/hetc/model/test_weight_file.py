"""A weight file holds the bytes of every large tensor, aligned, whatever their type and source."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hetc.model.weight_file import ALIGNMENT, EXTERNAL_ABOVE, WeightFile


@pytest.mark.parametrize("external", [False, True])
def test_every_type_survives(tmp_path: Path, external: bool) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "float": random.standard_normal((37, 53)).astype(np.float32),
        "half": random.standard_normal((91, 45)).astype(np.float16),
        "bfloat": random.standard_normal((64, 65)).astype(ml_dtypes.bfloat16),
        "nibbles": random.integers(-8, 8, (100, 101)).astype(ml_dtypes.int4),
        "small": np.arange(3),
    }
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21}, name="weights")
    for name, array in arrays.items():
        graph.register_initializer(ir.val(name, const_value=ir.tensor(array, name=name)))
    model = ir.Model(graph, ir_version=10)
    if external:
        (tmp_path / "source").mkdir()
        ir.save(model, tmp_path / "source/model.onnx", external_data="weights.bin")
        model = ir.load(tmp_path / "source/model.onnx")
    with WeightFile(tmp_path / "weights/all.bin", tmp_path) as file:
        added = file.add("added", np.eye(50, dtype=np.float32).T)
        model.graph.register_initializer(ir.val("added", const_value=added))
        file.take(model)
    onnx.save(ir.to_proto(model), tmp_path / "model.onnx")
    initializers = ir.load(tmp_path / "model.onnx").graph.initializers
    assert initializers.keys() == {*arrays, "added"}
    for initializer in initializers.values():
        tensor = initializer.const_value
        assert tensor is not None
        expected = arrays.get(tensor.name or "", np.eye(50, dtype=np.float32))
        np.testing.assert_array_equal(tensor.numpy(), expected)
        if expected.nbytes > EXTERNAL_ABOVE:
            assert isinstance(tensor, ir.ExternalTensor)
            assert tensor.location == "weights/all.bin"
            assert tensor.offset is not None
            assert tensor.offset % ALIGNMENT == 0
