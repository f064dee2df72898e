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
    alike: Counter[tuple[Kind, str, str, int]] = Counter()
    for unit in units:
        weights = [model.graph.initializers[matrix.weight] for matrix in unit.matrices]
        numbers = list(dict.fromkeys(_numbers(unit.kind, weight) for weight in weights))
        if numbers:
            stored, computed = (
                " and ".join(dict.fromkeys(one[place] for one in numbers)) for place in (0, 1)
            )
            alike[unit.kind, stored, computed, max(bits for *_, bits in numbers)] += 1
    return tuple(
        Arithmetic(kind, count, stored, computed, bits)
        for (kind, stored, computed, bits), count in alike.items()
    )


def _numbers(kind: Kind, weight: ir.Value) -> tuple[str, str, int]:
    """What a weight is stored as, what it is computed in, and the bits of activations."""
    if isinstance(weight.const_value, QuantisedTensor):
        form = weight.const_value.form
        return form.stored, form.operator, form.activation_bits
    stored = _name(weight.dtype)
    if kind == "expert" or any(map(is_widened, products_of(weight))):
        return stored, "float32", 0  # experts whatever the source did: Expert and Expert16
    return stored, stored, 0


def _name(dtype: ir.DataType | None) -> str:
    return "" if dtype is None else dtype.numpy().name
