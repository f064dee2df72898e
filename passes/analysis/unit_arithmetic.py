"""Says what the weights of units are stored as, and what digital units compute in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

from hetc.model.quantised_tensor import QuantisedTensor
from hetc.passes.analysis.weight_uses import is_widened, products_of
from hetc.plan.arithmetic import Arithmetic
from hetc.plan.units import Unit
from hetc.plan.words import Kind

__all__ = ["unit_arithmetic"]


def unit_arithmetic(model: ir.Model, units: Iterable[Unit]) -> tuple[Arithmetic, ...]:
    """How units with matrices compute, those that are alike together, in the model's order.

    Args:
        model: A model whose MoE layers are canonical.
        units: Its units.
    """
    alike: Counter[tuple[Kind, str, str, str, int]] = Counter()
    for unit in units:
        weights = [model.graph.initializers[matrix.weight] for matrix in unit.matrices]
        numbers = [_numbers(unit.kind, weight) for weight in weights]
        if numbers:
            *texts, bits = zip(*numbers, strict=True)
            stored, values, computed = (" and ".join(dict.fromkeys(words)) for words in texts)
            alike[unit.kind, stored, values, computed, max(bits)] += 1
    return tuple(
        Arithmetic(kind, count, stored, values, computed, bits)
        for (kind, stored, values, computed, bits), count in alike.items()
    )


def _numbers(kind: Kind, weight: ir.Value) -> tuple[str, str, str, int]:
    """What a weight is stored as, its type, what it is computed in, and the bits of activations."""
    values = _name(weight.dtype)
    if isinstance(weight.const_value, QuantisedTensor):
        form = weight.const_value.form
        return form.stored, values, form.operator, form.activation_bits
    if kind == "expert" or any(map(is_widened, products_of(weight))):
        return values, values, "float32", 0  # experts whatever the source did: Expert and Expert16
    return values, values, values, 0


def _name(dtype: ir.DataType | None) -> str:
    return "" if dtype is None else dtype.numpy().name
