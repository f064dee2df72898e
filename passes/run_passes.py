"""Runs passes in one sequence; what goes wrong in them comes out as an error of hetc's."""

from __future__ import annotations

import onnx_ir as ir

from hetc.base.errors import HetcError, InvalidInputError

__all__ = ["run_passes"]


def run_passes(model: ir.Model, *passes: ir.passes.PassBase) -> bool:
    """Applies passes in order, each with its preconditions (`requires`) and postconditions (`ensures`).

    Args:
        model: The model, changed in place.
        passes: The passes.

    Returns:
        Whether any of them changed something.

    Raises:
        HetcError: What a pass raised.
        InvalidInputError: A pre- or postcondition that the model doesn't meet; the pass's own sentence.
    """
    try:
        return ir.passes.Sequential(*passes)(model).modified
    except ir.passes.PassError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, HetcError):
                raise cause from error
            conditions = (ir.passes.PreconditionError, ir.passes.PostconditionError)
            if isinstance(cause, conditions) and cause.__cause__ is None:
                raise InvalidInputError(str(cause)) from error
            cause = cause.__cause__
        raise
