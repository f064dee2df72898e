"""In which types a model computes its products: its inputs and outputs need not say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import onnx

from hetc.model.contributed import register_contributed

__all__ = ["product_types"]

PRODUCTS = frozenset(
    [
        "Attention",
        "Einsum",
        "FusedMatMul",
        "Gemm",
        "GroupQueryAttention",
        "MatMul",
        "MatMulNBits",
        "MoE",
        "QMoE",
    ]
)


def product_types(path: Path) -> set[str]:
    """The types that the products of a model's main graph give, as ONNX Runtime spells them.

    Args:
        path: A valid model; its external data isn't read.

    Returns:
        For example `{"tensor(float16)"}`; without those of products whose type can't be inferred.
    """
    proto = onnx.load(path, load_external_data=False)
    register_contributed((node.domain, node.op_type) for node in proto.graph.node)
    graph = proto.graph
    with suppress(onnx.shape_inference.InferenceError):  # tools leave notes of shapes that hold no more
        graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    made = {types.get(node.output[0], 0) for node in graph.node if node.op_type in PRODUCTS}
    return {f"tensor({onnx.TensorProto.DataType.Name(kind).lower()})" for kind in made if kind}
