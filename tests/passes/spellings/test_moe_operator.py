"""com.microsoft::MoE -> the canonical layer, against ONNX Runtime's CPU kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from raising import assert_raised

from hetc.passes.raise_experts import RaiseExperts


def moe_model(
    *,
    experts: int = 4,
    hidden: int = 6,
    inter: int = 5,
    top_k: int = 2,
    leading: tuple[str, ...] = ("batch", "sequence"),
    dtype: Any = np.float32,
    biases: tuple[bool, bool] = (False, False),
    layers: int = 1,
    **attributes: Any,
) -> ir.Model:
    """x and router logits -> MoE layers in a row, with the names of onnxruntime-genai's builder."""
    random = np.random.default_rng(0)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    x = ir.val("x", kind, [*leading, hidden])
    router = ir.val("router", kind, ["tokens", experts])
    graph = ir.Graph([x, router], [], nodes=[], opset_imports={"": 21, "com.microsoft": 1}, name="moe")
    rows = 2 * inter if attributes.get("activation_type") == "swiglu" else inter

    def weight(name: str, *shape: int) -> ir.Value:
        numbers = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(dtype)
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        graph.register_initializer(value)
        return value

    value = x
    for layer in range(layers):
        prefix = f"model.layers.{layer}.moe.experts"
        inputs = [
            value,
            router,
            weight(f"{prefix}.gate_up_proj.weight", experts, rows, hidden),
            weight(f"{prefix}.gate_up_proj.bias", experts, rows) if biases[0] else None,
            weight(f"{prefix}.down_proj.weight", experts, hidden, inter),
            weight(f"{prefix}.down_proj.bias", experts, hidden) if biases[1] else None,
        ]
        node = ir.node(
            "MoE",
            inputs,
            {"k": top_k, "activation_type": "silu"} | attributes,
            domain="com.microsoft",
            name=f"/model/layers.{layer}/moe/MoE",
        )
        graph.append(node)
        value = node.outputs[0]
        value.name, value.type, value.shape = f"y{layer}", x.type, x.shape
    graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def feeds(model: ir.Model, tokens: int = 6) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    x, router = model.graph.inputs
    leading = [tokens] if len(x.shape or ()) == 2 else [2, tokens // 2]
    kind = x.dtype.numpy()  # type: ignore[union-attr]
    return {
        "x": random.standard_normal([*leading, x.shape[-1]]).astype(kind),  # type: ignore[index]
        "router": random.standard_normal([tokens, router.shape[-1]]).astype(kind),  # type: ignore[index]
    }


def test_two_layers_take_the_numbers_of_their_names() -> None:
    model = moe_model(layers=2)
    findings = assert_raised(model, feeds(model), layers=2)
    assert [finding.layer for finding in findings] == ["layers.0", "layers.1"]
    assert "layers.1.experts.3.up_proj.weight" in model.graph.initializers
    assert not [name for name in model.graph.initializers if name.startswith("model.")]


def test_sparse_mixer_is_declined_by_name() -> None:
    model = moe_model(use_sparse_mixer=1)
    raising = RaiseExperts()
    assert not raising(model).modified
    (finding,) = raising.findings
    assert (finding.layer, finding.node) == ("layers.0", "/model/layers.0/moe/MoE")
    assert "sparse mixer" in finding.reason
