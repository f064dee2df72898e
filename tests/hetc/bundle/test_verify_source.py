"""What the exact mode of a bundle may differ from its source, and sources that can't be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from command_line import hetc
from models import moe_model
from onnx_ir.passes.common import TopologicalSortPass

from hetc.bundle.verify import LOGITS_TOLERANCE, _tolerance
from hetc.plan.arithmetic import Arithmetic


def test_sixteen_bits_are_allowed_their_steps() -> None:
    assert _tolerance({"tensor(float)"}, (), 100.0) == LOGITS_TOLERANCE
    assert _tolerance({"tensor(float)", "tensor(float16)"}, (), 4.0) == pytest.approx(8 * 4 * 2.0**-10)


def test_rounded_activations_and_narrow_scales_are_allowed_theirs() -> None:
    rounded = Arithmetic("expert", 8, "int8", "float32", "MatMulInteger", 8)
    narrow = Arithmetic("expert", 8, "uint4, 32 to a scale", "float16", "MatMulNBits")
    assert _tolerance({"tensor(float)"}, (rounded,), 4.0) == pytest.approx(8 * 4 * 2.0**-7)
    assert _tolerance({"tensor(float)"}, (narrow,), 4.0) == pytest.approx(8 * 4 * 2.0**-10)


def test_a_source_that_cannot_run_on_the_tokens_is_an_error_of_its_own(tmp_path: Path) -> None:
    """As one whose table of rotary positions is shorter than the sequence."""
    model = moe_model(hidden=8)
    graph = model.graph
    table = ir.val("table", const_value=ir.tensor(np.ones((5, 8), np.float32), name="table"))
    start, step = (
        ir.val(name, const_value=ir.tensor(np.array(number), name=name))
        for name, number in (("zero", 0), ("one", 1))
    )
    for value in (table, start, step):
        graph.register_initializer(value)
    length = ir.node("Squeeze", [ir.node("Shape", [graph.inputs[0]]).outputs[0]])
    positions = ir.node("Range", [start, length.outputs[0], step])
    rotary = ir.node("Gather", [table, positions.outputs[0]])
    head = graph.outputs[0].producer()
    assert head is not None
    turned = ir.node("Mul", [head.inputs[0], rotary.outputs[0]], name="rotary")
    head.replace_input_with(0, turned.outputs[0])
    graph.extend([length.inputs[0].producer(), length, positions, rotary, turned])
    TopologicalSortPass()(model)
    ir.save(model, tmp_path / "model.onnx")
    assert hetc("compile", tmp_path / "model.onnx", "-o", "out.hetc", cwd=tmp_path).returncode == 0
    verified = hetc("verify", "out.hetc", cwd=tmp_path)
    assert verified.returncode == 3, verified.stderr
    assert "ONNX Runtime could not run the model on input_ids [64]" in verified.stderr
    assert "rotary" in verified.stderr and "Traceback" not in verified.stderr
