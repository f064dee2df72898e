"""The units of a model of OLMoE-1B-7B's shape, without a graph and without weights."""

from __future__ import annotations

from hetc.plan.units import Matrix, Unit

__all__ = ["olmoe_units"]

LAYERS, EXPERTS, TOP_K, HIDDEN, INTERMEDIATE, VOCABULARY = 16, 64, 8, 2048, 1024, 50304


def olmoe_units() -> tuple[Unit, ...]:
    """What `find_units` finds, but for names of weights and nodes."""
    units = [Unit("embedding", "embedding", None, None, (), (), VOCABULARY * HIDDEN)]
    for layer in range(LAYERS):
        attention = _matrices(q_proj=(HIDDEN, HIDDEN), k_proj=(HIDDEN, HIDDEN), v_proj=(HIDDEN, HIDDEN))
        attention += _matrices(o_proj=(HIDDEN, HIDDEN))
        units.append(_unit(f"layers.{layer}.attention", "attention", layer, None, attention, 1.0, 2 * HIDDEN))
        units.append(
            _unit(f"layers.{layer}.router", "router", layer, None, _matrices(gate=(HIDDEN, EXPERTS)))
        )
        for expert in range(EXPERTS):
            matrices = _matrices(
                gate_proj=(HIDDEN, INTERMEDIATE),
                up_proj=(HIDDEN, INTERMEDIATE),
                down_proj=(INTERMEDIATE, HIDDEN),
            )
            name = f"layers.{layer}.experts.{expert}"
            units.append(_unit(name, "expert", layer, expert, matrices, TOP_K / EXPERTS))
    units.append(_unit("lm_head", "lm_head", None, None, _matrices(lm_head=(HIDDEN, VOCABULARY))))
    return tuple(units)


def _matrices(**shapes: tuple[int, int]) -> tuple[Matrix, ...]:
    return tuple(Matrix(name, name, rows, columns, True, 0) for name, (rows, columns) in shapes.items())


def _unit(
    name: str,
    kind: str,
    layer: int | None,
    expert: int | None,
    matrices: tuple[Matrix, ...],
    load: float = 1.0,
    cache_width: int = 0,
) -> Unit:
    parameters = sum(matrix.inputs * matrix.outputs for matrix in matrices)
    return Unit(name, kind, layer, expert, matrices, (), parameters, "", load, cache_width)
