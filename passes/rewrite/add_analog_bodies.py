"""Gives a lowered model the function bodies of its analog operators, for runtimes without the library.

A model has one body per operator name, written for one set of optional inputs: all nodes must agree on it.
"""

from __future__ import annotations

import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.operators.analog import analog_expert_function, analog_matmul_function
from hetc.operators.schemas import DOMAIN, VERSION
from hetc.passes.analysis.analog_matrices import analog_nodes, named_inputs

__all__ = ["AddAnalogBodies"]


class AddAnalogBodies(ir.passes.InPlacePass):
    """Adds or replaces the functions `AnalogMatMul` and `AnalogExpert`.

    Raises:
        InvalidInputError: From `call`, for experts of two forms, or nodes with different optional inputs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = analog_nodes(model.graph)
        if not nodes:
            return ir.passes.PassResult(model, modified=False)
        converters = {_converter_inputs(node) for node in nodes}
        forms = {_form(node) for node in nodes if node.op_type == "AnalogExpert"}
        if len(forms) > 1 or len(converters) > 1:
            raise InvalidInputError(
                "the model's analog units differ in gate, biases, activation or calibrated inputs, which one "
                "bundle cannot hold yet; pin all but one kind digital"
            )
        ((input_range, adc_bound, weight_scale, ranks),) = converters
        opset = model.opset_imports[""]
        functions = [
            analog_matmul_function(
                opset=opset,
                input_range=input_range,
                adc_bound=adc_bound,
                weight_scale=weight_scale,
                ranks=ranks,
                scale_per_tile=not weight_scale and nodes[0].attributes["scale_mode"].as_string() == "tile",
                bound_management=nodes[0].attributes["bound_management"].as_string() == "iterative",
            )
        ]
        for activation, gated, gate_bias, up_bias, down_bias in forms:
            functions.append(
                analog_expert_function(
                    opset=opset,
                    gated=gated,
                    activation=activation,
                    gate_bias=gate_bias,
                    up_bias=up_bias,
                    down_bias=down_bias,
                    input_range=input_range,
                    adc_bound=adc_bound,
                    weight_scale=weight_scale,
                    ranks=ranks,
                )
            )
        model.opset_imports[DOMAIN] = VERSION
        for function in functions:  # callees stand before callers
            model.functions[function.identifier()] = function
        return ir.passes.PassResult(model, modified=True)


def _converter_inputs(node: ir.Node) -> tuple[bool, bool, bool, bool]:
    """Whether the node has input ranges, ADC bounds, weight scales and ranks of neurons."""
    expert = ("in_range", "up_adc_bound", "up_weight_scale", "neuron_rank")
    matmul = ("input_range", "adc_bound", "weight_scale", "input_rank")
    has = named_inputs(node).__contains__
    first, second, third, fourth = map(has, expert if node.op_type == "AnalogExpert" else matmul)
    return first, second, third, fourth


def _form(node: ir.Node) -> tuple[str, bool, bool, bool, bool]:
    """Activation, and whether there are a gate and the three biases."""
    inputs = named_inputs(node)
    return (
        node.attributes["activation"].as_string(),
        "gate" in inputs,
        "gate_bias" in inputs,
        "up_bias" in inputs,
        "down_bias" in inputs,
    )
