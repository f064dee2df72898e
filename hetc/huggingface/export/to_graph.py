"""A function of tensors, as a module of torch -> an ONNX graph whose weights have names and no values."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import nn
from transformers import PreTrainedModel

__all__ = ["OPSET", "Traced"]

OPSET = 18
IR_VERSION = 10


class Traced(nn.Module):
    """What is traced of a model: `forward` is a function of tensors alone.

    Attributes:
        model: from `skeleton`, off the device `meta`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def to_graph(
        self,
        arguments: tuple[Any, ...],
        dynamic_shapes: tuple[Any, ...],
        inputs: Sequence[str],
        outputs: Sequence[str],
        sizes: Mapping[tuple[str, int], str],
    ) -> ir.Model:
        """The graph; its initializers have the names of the model's parameters and no values.

        Args:
            arguments: of `forward`. Each tensor is one of its own: the tracer takes one tensor given twice
                for one input.
            dynamic_shapes: which of their sizes are free, as `torch.export` takes them.
            inputs: names for the tensors in `arguments`.
            outputs: names for those that `forward` returns.
            sizes: names for free sizes, by name of an input and axis; they replace the tracer's (`s43`).
        """
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                self,
                arguments,
                dynamic_shapes=dynamic_shapes,
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            exported = torch.onnx.export(
                program,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
            assert exported is not None
            traced = exported.model
            _forget_parameters(
                traced, {name for name, _ in self.model.named_parameters()} | _persistent_buffers(self.model)
            )
            optimizer.optimize_ir(traced, onnx_shape_inference=False)
        # The exporter notes stack traces with paths of this machine.
        ir.passes.common.ClearMetadataAndDocStringPass()(traced)
        traced.ir_version = IR_VERSION
        _name_sizes(traced, sizes)
        return traced


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


def _name_sizes(traced: ir.Model, sizes: Mapping[tuple[str, int], str]) -> None:
    """Replace the tracer's symbols by names."""
    inputs = {value.name: value for value in traced.graph.inputs}
    readable = {
        str(shape[axis]): name
        for (value, axis), name in sizes.items()
        if (shape := inputs[value].shape) is not None
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
