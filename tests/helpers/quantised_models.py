"""A small MoE language model of plain products, as quantisers of ONNX Runtime take it and leave it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from models import moe_model
from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass

from hetc.model.external_tensors import tensor_values
from hetc.passes.analysis.weight_uses import products_of

__all__ = [
    "QUANTISERS",
    "plain_products",
    "plain_proto",
    "quantise_blocks",
    "quantise_dynamic",
    "quantise_qdq",
]


def plain_products(model: ir.Model) -> ir.Model:
    """The model without functions, each product a MatMul with an initializer `[in, out]` on its right."""
    InlinePass()(model)
    graph = model.graph
    for weight in list(graph.initializers.values()):
        for product in list(products_of(weight)):
            numbers = tensor_values(weight.const_value).astype(np.float32)
            numbers = np.ascontiguousarray(numbers.T if product.transposed else numbers)
            turned = ir.val(f"{weight.name}_T", const_value=ir.tensor(numbers, name=f"{weight.name}_T"))
            graph.register_initializer(turned)
            node = product.node
            plain = ir.node("MatMul", [node.inputs[0], turned])
            ir.convenience.replace_nodes_and_values(graph, node, [node], [plain], node.outputs, plain.outputs)
            plain.name = f"{plain.outputs[0].name}/MatMul"
    RemoveUnusedNodesPass()(model)
    for value in list(graph.initializers.values()):
        if (value.name or "").endswith("_T"):
            value.name = value.name.removesuffix("_T")
            value.const_value.name = value.name
    return model


def plain_proto(**sizes: Any) -> onnx.ModelProto:
    """A model with MoE layers of sizes that quantisers take."""
    settings = {"hidden": 32, "inter": 64, "vocabulary": 48, **sizes}
    model = plain_products(moe_model(**settings))
    model.graph.opset_imports[""] = 21
    return ir.to_proto(model)


def quantise_blocks(proto: onnx.ModelProto, folder: Path, **settings: Any) -> Path:
    """By MatMulNBitsQuantizer: MatMulNBits, or DequantizeLinear of blocks (`quant_format`)."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(proto, **{"block_size": 32, "is_symmetric": False, **settings})
    quantizer.process()
    path = folder / "model.onnx"
    quantizer.model.save_model_to_file(str(path), use_external_data_format=True)
    return path


def quantise_qdq(proto: onnx.ModelProto, folder: Path, **settings: Any) -> Path:
    """As `quantise_blocks`, to DequantizeLinear."""
    from onnxruntime.quantization.quant_utils import QuantFormat

    return quantise_blocks(proto, folder, quant_format=QuantFormat.QDQ, **settings)


def quantise_dynamic(proto: onnx.ModelProto, folder: Path, **settings: Any) -> Path:
    """By quantize_dynamic: DynamicQuantizeLinear and MatMulInteger; tables that are looked up, too."""
    from onnxruntime.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(proto, folder / "model.onnx", per_channel=True, **settings)
    return folder / "model.onnx"


QUANTISERS: dict[str, Callable[..., Path]] = {
    "blocks": quantise_blocks,
    "qdq": quantise_qdq,
    "dynamic": quantise_dynamic,
}
