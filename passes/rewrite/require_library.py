"""Guards a noisy model: `input -> RequireLibrary(input)`, an operator without a body.

Function bodies cannot draw noise, so without the guard a runtime that lacks the library would run the
model clean, and nobody would notice.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["RequireLibrary"]


class RequireLibrary(ir.passes.InPlacePass):
    """Passes the first graph input that is used through `hetc::RequireLibrary`."""

    def requires(self, model: ir.Model) -> None:
        """Some input is used: a guard stands between it and its users."""
        if not any(value.uses() for value in model.graph.inputs):
            raise ir.passes.PreconditionError("the model uses none of its inputs: nothing can guard it")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        value = next(value for value in graph.inputs if value.uses())
        users = list(value.uses())
        guard = ir.node("RequireLibrary", [value], domain="hetc", name="require_library")
        guarded = guard.outputs[0]
        guarded.name = f"{value.name}_guarded"
        guarded.type, guarded.shape = value.type, value.shape
        for user, index in users:
            user.replace_input_with(index, guarded)
        graph.insert_before(graph[0], guard)
        model.opset_imports["hetc"] = 1
        return ir.passes.PassResult(model, modified=True)
