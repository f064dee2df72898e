"""What compile, bake and partition write can be opened: it was opened once before it got its name."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import hetc as run_hetc
from models import moe_model

import hetc
from hetc.base.errors import InvalidInputError
from hetc.runtimes.onnxruntime import session


def without_a_kernel() -> ir.Model:
    """A valid model with a sum in bfloat16, which ONNX Runtime cannot calculate on a CPU."""
    model = moe_model(layers=1)
    (logits,) = model.graph.outputs
    one = ir.val("one", const_value=ir.tensor(np.ones(1, ml_dtypes.bfloat16), name="one"))
    model.graph.register_initializer(one)
    cast = ir.node("Cast", [logits], {"to": ir.DataType.BFLOAT16.value}, name="to_bfloat16")
    add = ir.node("Add", [cast.outputs[0], one], name="add_in_bfloat16")
    back = ir.node("Cast", [add.outputs[0]], {"to": ir.DataType.FLOAT.value}, name="back")
    for node in (cast, add, back):
        model.graph.append(node)
    back.outputs[0].name, back.outputs[0].dtype, back.outputs[0].shape = "out", logits.dtype, logits.shape
    model.graph.outputs[0] = back.outputs[0]
    return model


def test_nothing_is_written_that_onnx_runtime_refuses(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    onnx.save(ir.to_proto(without_a_kernel()), model)
    done = run_hetc("compile", model, "-o", tmp_path / "out.hetc")
    assert done.returncode == 3, done.stdout
    assert f"model {model}: ONNX Runtime refuses" in done.stderr
    assert "add_in_bfloat16" in done.stderr
    assert "partial" not in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == [model]


def test_the_old_bundle_stays_when_the_new_one_is_refused(tmp_path: Path) -> None:
    bundle = hetc.compile(moe_model(), tmp_path / "out.hetc")
    with pytest.raises(InvalidInputError, match="the model: ONNX Runtime refuses"):
        hetc.compile(without_a_kernel(), bundle.path, force=True)
    assert list(tmp_path.iterdir()) == [bundle.path]
    bundle.session().run(None, {"input_ids": np.arange(4)})


@pytest.mark.parametrize("make", [hetc.bake_bundle, hetc.partition_bundle])
def test_what_is_made_of_a_bundle_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object
) -> None:
    bundle = hetc.compile(moe_model(), tmp_path / "out.hetc")
    opened: list[str] = []
    open_one = session._open

    def refusing(model: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        if isinstance(model, bytes):
            return open_one(model, options)
        opened.append(Path(model).name)
        raise InvalidInputError("no") from RuntimeError(f"{model} is bad")

    monkeypatch.setattr(session, "_open", refusing)
    with pytest.raises(InvalidInputError, match=r"out\.hetc.*refuses.*onnx is bad") as refused:
        make(bundle, tmp_path / "made")  # type: ignore[operator]
    assert "partial" not in str(refused.value)
    assert opened
    assert list(tmp_path.iterdir()) == [bundle.path]
