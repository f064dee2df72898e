"""Gives a model with canonical MoE layers the function bodies of `Expert` and `Expert16`.

A model has one body per operator name, written for one form of expert: all nodes must agree on it.
"""

from __future__ import annotations

import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.operators.expert import expert_function
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS, VERSION

__all__ = ["AddExpertBodies"]


class AddExpertBodies(ir.passes.InPlacePass):
    """Adds or replaces the functions `Expert` and `Expert16`.

    Raises:
        InvalidInputError: From `call`, for experts of two forms.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        forms: dict[str, set[tuple[str, tuple[bool, ...]]]] = {}
        for node in model.graph:
            if node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS:
                inputs = [*node.inputs, *[None] * (7 - len(node.inputs))]
                present = tuple(value is not None for value in (inputs[1], *inputs[4:]))
                forms.setdefault(node.op_type, set()).add(
                    (node.attributes["activation"].as_string(), present)
                )
        for operator, found in forms.items():
            if len(found) > 1:
                raise InvalidInputError(
                    f"the model's {operator} nodes differ in activation, gate or biases; "
                    "one function body serves one form"
                )
            activation, (gated, gate_bias, up_bias, down_bias) = next(iter(found))
            function = expert_function(
                operator,
                opset=model.graph.opset_imports[""],
                gated=gated,
                activation=activation,
                gate_bias=gate_bias,
                up_bias=up_bias,
                down_bias=down_bias,
            )
            model.functions[function.identifier()] = function
        if forms:
            model.graph.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(forms))
