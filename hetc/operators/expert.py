"""Function bodies of `Expert` and `Expert16` in standard operators.

`Expert` has no kernel: it is its body. `Expert16` has one, and a runtime without hetc's library inlines the
body. A model has one function per name, so a body is built for the form of expert that the model has.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx import parser

from hetc.operators.activations import combine
from hetc.operators.schemas import DOMAIN, INPUTS, VERSION, attribute_types

__all__ = ["expert_function"]


def expert_function(
    operator: str,
    *,
    opset: int,
    gated: bool,
    activation: str,
    gate_bias: bool = False,
    up_bias: bool = False,
    down_bias: bool = False,
) -> ir.Function:
    """Body of `Expert` or `Expert16`; it serves every shape, either orientation, and any number of rows.

    Args:
        operator: `Expert` (float32 throughout) or `Expert16` (everything cast to float32 at its use).
        opset: version of the standard operators in the model, 18 to 24; a body must have the same.
        gated: whether the experts have a gate.
        activation: a key of `hetc.operators.activations.ACTIVATIONS`.
        gate_bias, up_bias, down_bias: whether the model's nodes have this input. Inputs after the last one
            that is used are not declared, those before it are.

    Raises:
        InvalidInputError: for an activation that has no body, or none without a gate.
    """
    biases = {"gate": gate_bias, "up": up_bias, "down": down_bias}
    used = ["x", "gate", "up", "down"] if gated else ["x", "up", "down"]
    used += [f"{name}_bias" for name in used[1:] if biases[name]]

    suffix = ""
    lines = []
    if operator == "Expert16":
        suffix = "_wide"
        lines += [f"{name}_wide = Cast <to = 1> ({name})" for name in used]

    def project(source: str, name: str) -> str:
        operands = [source, f"{name}{suffix}"] + ([f"{name}_bias{suffix}"] if biases[name] else [])
        return f"{name}_y = Gemm <transB: int = @transpose_weight> ({', '.join(operands)})"

    x = f"x{suffix}"
    lines += [project(x, name) for name in (("gate", "up") if gated else ("up",))]
    lines += [combine(activation, gated=gated)]
    lines += [project("h", "down"), "y = CastLike (down_y, x)" if suffix else "y = Identity (down_y)"]

    names = list(INPUTS[operator])
    while names[-1] not in used:
        names.pop()
    body = "\n".join(lines)
    attributes = ", ".join(attribute_types(operator, activation))
    function = parser.parse_function(
        f'<opset_import: ["" : {opset}, "{DOMAIN}" : {VERSION}], domain: "{DOMAIN}">\n'
        f"{operator} <{attributes}> ({', '.join(names)}) => (y)\n{{{body}\n}}"
    )
    return ir.serde.deserialize_function(function)
