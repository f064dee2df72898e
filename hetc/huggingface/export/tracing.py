"""A transformers model without weights -> an ONNX graph with one placeholder per MoE layer.

Inputs and outputs carry onnxruntime-genai's default names; batch, sequence and past length are dynamic.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn
from transformers import PreTrainedModel

from hetc.huggingface.cache import CachedTensor, cache_argument, empty_cache, fill_cache, read_cache
from hetc.huggingface.export.stand_ins import stand_ins

__all__ = ["OPSET", "trace"]

OPSET = 18
IR_VERSION = 10

# Different from each other and from 1, so that the tracer takes none for another or for a constant.
BATCH, SEQUENCE, PAST = 2, 3, 5


def trace(model: PreTrainedModel, cache: list[CachedTensor]) -> ir.Model:
    """Trace `model`; initializers have the names of its parameters and no values.

    Args:
        model: from `skeleton`, off the device `meta`.
        cache: the tensors that it carries from one step to the next.
    """
    past = [torch.zeros(BATCH, *(PAST if size is None else size for size in one.shape)) for one in cache]
    # Each input is a tensor of its own: the tracer takes one tensor given twice for one input.
    ids, positions = (torch.zeros(BATCH, SEQUENCE, dtype=torch.int64) for _ in range(2))
    mask = torch.ones(BATCH, PAST + SEQUENCE, dtype=torch.int64)
    dynamic = torch.export.Dim.DYNAMIC
    token = {0: dynamic, 1: dynamic}
    axes = [[0, *(axis for axis, size in enumerate(one.shape, 1) if size is None)] for one in cache]
    names = [one.name for one in cache]
    with torch.no_grad(), _quiet(), stand_ins():
        program = torch.export.export(
            _Decoder(model, cache),
            (ids, mask, positions, past),
            dynamic_shapes=(token, token, token, [dict.fromkeys(each, dynamic) for each in axes]),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        exported = torch.onnx.export(
            program,
            input_names=[
                "input_ids",
                "attention_mask",
                "position_ids",
                *(f"past_key_values.{name}" for name in names),
            ],
            output_names=["logits", *(f"present.{name}" for name in names)],
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert exported is not None
        traced = exported.model
        _forget_parameters(
            traced, {name for name, _ in model.named_parameters()} | _persistent_buffers(model)
        )
        optimizer.optimize_ir(traced, onnx_shape_inference=False)
    # The exporter notes stack traces with paths of this machine.
    ir.passes.common.ClearMetadataAndDocStringPass()(traced)
    traced.ir_version = IR_VERSION
    _name_dimensions(traced)
    return traced


class _Decoder(nn.Module):
    """The model as a function of tensors: the cache goes in and comes out as a flat list."""

    def __init__(self, model: PreTrainedModel, cache: list[CachedTensor]) -> None:
        super().__init__()
        self.model = model
        self.cache = cache
        self.keys = next((index for index, one in enumerate(cache) if one.part == "key"), None)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        if self.keys is not None:
            check: Any = torch._check
            tokens = past[self.keys].shape[2]
            check(attention_mask.shape[1] == tokens + input_ids.shape[1])
            for one, tensor in zip(self.cache, past, strict=True):
                if one.part in ("compressor", "indexer"):
                    check(tensor.shape[1] == tokens)
        cache = empty_cache(self.model.config)
        fill_cache(cache, self.cache, past)
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=True,
            **{cache_argument(self.model): cache},
        )
        return [output.logits, *read_cache(cache)]


def _persistent_buffers(model: PreTrainedModel) -> set[str]:
    return set(model.state_dict()) - {name for name, _ in model.named_parameters()}


def _forget_parameters(traced: ir.Model, names: set[str]) -> None:
    """Strip the wrapper's prefix from initializer names, and the zeros that folding must not use."""
    initializers = traced.graph.initializers
    for value in list(initializers.values()):
        name = value.name or ""
        parameter = name.removeprefix("model.")
        if parameter != name:
            del initializers[name]
            value.name = parameter
            initializers[parameter] = value
        if parameter in names:
            value.const_value = None


def _name_dimensions(traced: ir.Model) -> None:
    """Replace the tracer's symbols (`s43`) by `batch`, `sequence`, `past_sequence` and `total_sequence`."""
    inputs = {value.name: value for value in traced.graph.inputs}
    keys = [value for name, value in inputs.items() if name and re.match(r"past_key_values\.\d+\.key", name)]
    readable = {
        str(value.shape[axis]): name
        for value, axis, name in (
            (inputs["attention_mask"], 0, "batch"),
            (inputs["attention_mask"], 1, "total_sequence"),
            *((past, 0, "batch") for past in keys),
            *((past, 2, "past_sequence") for past in keys),
            (inputs["input_ids"], 0, "batch"),
            (inputs["input_ids"], 1, "sequence"),
        )
        if value.shape is not None
    }

    def rename(value: ir.Value) -> None:
        if value.shape is None:
            return
        shape: list[int | ir.SymbolicDim] = []
        for dimension in value.shape:
            if isinstance(dimension, int):
                shape.append(dimension)
                continue
            text = re.sub(r"\w+", lambda word: readable.get(word[0], word[0]), str(dimension))
            shape.append(ir.SymbolicDim(text))
        value.shape = ir.Shape(shape)

    for value in (*traced.graph.inputs, *(output for node in traced.graph for output in node.outputs)):
        rename(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the tracer says about itself: nothing in it is about the user's model."""
    names = ("torch.onnx", "onnx_ir", "onnxscript")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
