"""com.microsoft::QMoE -> the canonical layer, against ONNX Runtime's CPU kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from raising import assert_raised, run

from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.runtimes.reference import expert


@pytest.fixture(autouse=True)
def dequantised_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the kernel rounds activations to 8 bits too, for weights in blocks of 8 bits."""
    monkeypatch.setenv("ORT_QMOE_CPU_QNBIT_GEMM", "0")


def qmoe_model(
    *,
    bits: int = 4,
    experts: int = 3,
    hidden: int = 32,
    inter: int = 16,
    top_k: int = 2,
    block_size: int = 16,
    dtype: Any = np.float32,
    leading: tuple[str, ...] = ("batch", "sequence"),
    biases: bool = False,
    zero_points: bool = False,
    router_weights: bool = False,
    **attributes: Any,
) -> ir.Model:
    """x, router logits (and router weights) -> QMoE; a block_size of 0 has one scale for each row."""
    random = np.random.default_rng(0)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    x = ir.val("x", kind, [*leading, hidden])
    router = ir.val("router", kind, ["tokens", experts])
    weights = ir.val("router_weights", kind, ["tokens", experts])
    graph_inputs = [x, router, *([weights] if router_weights else [])]
    graph = ir.Graph(graph_inputs, [], nodes=[], name="qmoe", opset_imports={"": 21, "com.microsoft": 1})
    fused = attributes.get("activation_type") == "swiglu"

    def constant(name: str, numbers: NDArray[Any]) -> ir.Value:
        value = ir.val(f"model.layers.7.moe.experts.{name}", const_value=ir.tensor(numbers))
        value.const_value.name = value.name
        graph.register_initializer(value)
        return value

    def stack(name: str, rows: int, columns: int) -> dict[str, ir.Value | None]:
        blocks = columns // block_size if block_size else 1
        shape = (experts, rows, blocks) if block_size else (experts, rows)
        points = (experts, rows, -(-blocks * bits // 8)) if block_size and blocks > 1 else None
        points = points or (experts, -(-rows * bits // 8))
        codes = random.integers(0, 256, (experts, rows, columns * bits // 8), np.uint8)
        scales = random.standard_normal(shape) / (2**bits * np.sqrt(columns))
        return {
            "codes": constant(f"{name}.qweight", codes),
            "scales": constant(f"{name}.scales", scales.astype(dtype)),
            "bias": constant(f"{name}.bias", random.standard_normal((experts, rows)).astype(dtype))
            if biases
            else None,
            "zero": constant(f"{name}.zero_points", random.integers(0, 256, points, np.uint8))
            if zero_points
            else None,
        }

    fc1, fc2 = stack("gate_up_proj", 2 * inter if fused else inter, hidden), stack("down_proj", hidden, inter)
    inputs = [x, router, fc1["codes"], fc1["scales"], fc1["bias"], fc2["codes"], fc2["scales"], fc2["bias"]]
    inputs += [None, None, None, fc1["zero"], fc2["zero"], None, weights if router_weights else None]
    standard = {"k": top_k, "activation_type": "silu", "expert_weight_bits": bits}
    standard |= {"block_size": block_size} if block_size else {}
    node = ir.node("QMoE", inputs, standard | attributes, domain="com.microsoft", name="experts")
    graph.append(node)
    output = node.outputs[0]
    output.name, output.type, output.shape = "y", x.type, x.shape
    graph.outputs.append(output)
    return ir.Model(graph, ir_version=10)


def feeds(model: ir.Model, tokens: int = 6) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    made = {}
    for value in model.graph.inputs:
        leading = [tokens] if len(value.shape) == 2 else [2, tokens // 2]
        numbers = random.standard_normal([*leading, value.shape[-1]])
        made[value.name] = numbers.astype(value.dtype.numpy())
    return made


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_equal_to_the_kernel(data: st.DataObject) -> None:
    experts = data.draw(st.integers(1, 5))
    block_size = data.draw(st.sampled_from([0, 16, 32]))
    unit = block_size or 4
    activation = data.draw(st.sampled_from(["relu", "gelu", "silu", "swiglu"]))
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    bits = data.draw(st.sampled_from([2, 4, 8]))
    inter = unit * data.draw(st.integers(2, 3))
    rows = inter * (2 if activation == "swiglu" else 1)
    assume(bits != 2 or not block_size or rows % 128)  # there the kernel rounds activations to 8 bits
    model = qmoe_model(
        bits=bits,
        experts=experts,
        hidden=unit * data.draw(st.integers(2, 3)),
        inter=inter,
        top_k=data.draw(st.integers(1, experts)),
        block_size=block_size,
        dtype=dtype,
        leading=data.draw(st.sampled_from([("tokens",), ("batch", "sequence")])),
        biases=data.draw(st.booleans()),
        zero_points=data.draw(st.booleans()),
        router_weights=data.draw(st.booleans()),
        activation_type=activation,
        swiglu_fusion=int(activation == "swiglu"),
        normalize_routing_weights=data.draw(st.integers(0, 1)),
    )
    inputs = feeds(model)
    if "router_weights" in inputs:  # of both signs, their sum may nearly vanish and magnify rounding
        inputs["router_weights"] = np.abs(inputs["router_weights"])
    assert_raised(model, inputs, tolerance=1e-5 if dtype is np.float32 else 2e-3)


@pytest.mark.parametrize("inter", [32, 64])
def test_two_bits_equal_the_formula_where_the_kernel_rounds_activations(inter: int) -> None:
    model = qmoe_model(
        bits=2,
        experts=1,
        hidden=64,
        inter=inter,
        top_k=1,
        block_size=32,
        activation_type="swiglu",
        swiglu_fusion=1,
    )
    weights = {}
    for name in ("gate_up_proj", "down_proj"):
        codes, scales = (
            model.graph.initializers[f"model.layers.7.moe.experts.{name}.{part}"].const_value.numpy()[0]
            for part in ("qweight", "scales")
        )
        columns = range(4 * codes.shape[1])
        unpacked = np.stack([codes[:, k // 4] >> 2 * (k % 4) & 3 for k in columns], axis=1)
        weights[name] = (unpacked.astype(np.float32) - 2) * scales[:, [k // 32 for k in columns]]
    inputs = feeds(model)
    rows = weights["gate_up_proj"]
    expected = expert(
        inputs["x"], rows[0::2], rows[1::2], weights["down_proj"], "silu", transpose_weight=True
    )
    RaiseExperts()(model)
    np.testing.assert_allclose(run(model, inputs)[0], expected, atol=1e-6)


def test_clamped_swiglu_of_gpt_oss() -> None:
    swiglu = {"activation_type": "swiglu", "swiglu_fusion": 1, "swiglu_limit": 0.7}
    swiglu |= {"activation_alpha": 1.702, "activation_beta": 1.0}
    model = qmoe_model(biases=True, **swiglu)
    assert_raised(model, feeds(model))


def test_ties_go_to_the_higher_index_as_in_the_kernel() -> None:
    model = qmoe_model(experts=5)
    inputs = feeds(model)
    inputs["router"] = np.round(inputs["router"] / 2)
    assert_raised(model, inputs)


@pytest.mark.parametrize("normalize", [0, 1])
def test_router_weights_of_zero_and_below_count_nothing(normalize: int) -> None:
    model = qmoe_model(router_weights=True, normalize_routing_weights=normalize)
    inputs = feeds(model)
    inputs["router_weights"][0] = 0
    assert (inputs["router_weights"][1:] < 0).any()
    assert_raised(model, inputs)


def test_concatenated_gate_and_up_equal_interleaved_ones() -> None:
    # As mobius writes them; ONNX Runtime's CPU kernel takes interleaved rows only.
    interleaved = qmoe_model(activation_type="swiglu", swiglu_fusion=1, zero_points=True)
    model = interleaved.clone(deep_copy=True)
    for name in ("qweight", "scales", "zero_points"):
        value = model.graph.initializers[f"model.layers.7.moe.experts.gate_up_proj.{name}"]
        numbers = value.const_value.numpy()
        parts = np.concatenate([numbers[:, 0::2], numbers[:, 1::2]], axis=1)
        value.const_value = ir.tensor(parts, name=value.name)
    next(iter(model.graph)).attributes["swiglu_fusion"] = ir.AttrInt64("swiglu_fusion", 2)
    RaiseExperts()(interleaved)
    RaiseExperts()(model)
    for name in (f"layers.7.experts.{e}.{p}_proj.weight" for e in range(3) for p in ("gate", "up", "down")):
        one, other = interleaved.graph.initializers[name], model.graph.initializers[name]
        np.testing.assert_array_equal(one.const_value.numpy(), other.const_value.numpy())


def test_weights_are_computed_when_they_are_read() -> None:
    model = qmoe_model()
    RaiseExperts()(model)
    tensor = model.graph.initializers["layers.7.experts.1.up_proj.weight"].const_value
    assert isinstance(tensor, ir.LazyTensor) and not tensor.cache


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_sparse_mixer": 1}, "use_sparse_mixer is 1"),
        ({"quant_type": "fp4"}, "quant_type is 'fp4'"),
        ({"weights_prepacked": 1}, "packed for CUDA"),
        ({"expert_weight_bits": 3}, "fc1 has weights of 3 bits"),
        ({"expert_weight_bits": 8}, "fc1_scales"),
        ({"block_size": 8}, "fc1_scales"),
    ],
)
def test_declined(change: dict[str, Any], reason: str) -> None:
    model = qmoe_model()
    for name, value in change.items():
        next(iter(model.graph)).attributes[name] = ir.convenience.convert_attribute(name, value)
    raising = RaiseExperts()
    assert not raising(model).modified
    assert reason in raising.findings[0].reason
