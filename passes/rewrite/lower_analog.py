"""Rewrites what the plan says is analog; decides nothing.

    Expert(x, gate, up, down), Expert16(...)   ->  AnalogExpert(x, gate, up, down)
    MatMul(x, Transpose(Cast(w)))              ->  AnalogMatMul(x, w)
    Gemm(x, w, bias)                           ->  Add(AnalogMatMul(x, w), bias)

The operators' function bodies are added, so that a runtime without the library can still run mode
`converters`.
"""

from __future__ import annotations

import logging
from typing import Union

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from hetc.hardware.profile import Profile
from hetc.model.weights import require_finite
from hetc.operators.schemas import DOMAIN
from hetc.operators.words import Mode
from hetc.passes.analysis.analog_matrices import set_input
from hetc.passes.analysis.weight_uses import Product, products_of
from hetc.passes.rewrite.add_adc_bounds import AddAdcBounds
from hetc.passes.rewrite.add_analog_bodies import AddAnalogBodies
from hetc.passes.run_passes import run_passes
from hetc.plan.neurons import NEVER, axis_of, per_line
from hetc.plan.plan import Plan, PlannedUnit

__all__ = ["LowerAnalog"]

logger = logging.getLogger(__name__)

_Attribute = Union[str, int, float, ir.Attr]

MODE: Mode = "noisy"
"""What a node does where the session doesn't say."""
OPSETS = range(18, 25)
"""Versions of the standard operators that the function bodies are written in."""


class LowerAnalog(ir.passes.InPlacePass):
    """Turns every analog unit of the plan into analog operators.

    Args:
        plan: The plan.

    Raises:
        InvalidInputError: From `call`, for experts of two forms in one model: bodies have one form per name.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    @property
    def _units(self) -> list[PlannedUnit]:
        return [unit for unit in self.plan.units if unit.target == "analog"]

    def requires(self, model: ir.Model) -> None:
        """Operators of a known version, and analog units with nodes and finite weights in this model."""
        _require_opset(model)
        names = {node.name for node in model.graph}
        for unit in self._units:
            for name in unit.nodes:
                if name not in names:
                    raise ir.passes.PreconditionError(
                        f"unit {unit.id!r}: the model has no node {name!r}; make the plan of this model"
                    )
            for matrix in unit.matrices:
                if matrix.weight not in model.graph.initializers:
                    raise ir.passes.PreconditionError(
                        f"unit {unit.id!r}: the model has no weight {matrix.weight!r}; make the plan of "
                        "this model"
                    )
                require_finite(model, matrix)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        units = self._units
        nodes = {node.name: node for node in model.graph}
        experts = [(unit, nodes[unit.nodes[0]]) for unit in units if unit.kind == "expert"]
        for unit, node in experts:
            self._lower_expert(unit, node, model.graph)
        for unit in units:
            if unit.kind != "expert":
                self._lower_matrices(unit, model.graph)
        if units:
            run_passes(model, AddAdcBounds(self.plan), AddAnalogBodies())
            logger.info("lowered %s units", len(units))
        # Casts and transposes of weights, and the functions of operators that are gone.
        unused_functions = RemoveUnusedFunctionsPass()  # type: ignore[no-untyped-call]
        run_passes(model, RemoveUnusedNodesPass(), unused_functions)
        return ir.passes.PassResult(model, modified=bool(units))

    def ensures(self, model: ir.Model) -> None:
        """No expert that the plan says is analog computes digitally."""
        analog = {unit.id for unit in self._units if unit.kind == "expert"}
        lowered = {n.attributes["unit"].as_string() for n in model.graph if n.op_type == "AnalogExpert"}
        if left := analog - lowered:
            raise ir.passes.PostconditionError(f"unit {min(left)!r} was not lowered")

    def _lower_expert(self, unit: PlannedUnit, node: ir.Node, graph: ir.Graph) -> None:
        node.op_type = "AnalogExpert"
        streams = {matrix.projection: matrix.stream for matrix in unit.matrices}
        attributes = self._attributes(unit)
        for name in ("gate", "up", "down"):
            attributes[f"{name}_stream"] = streams.get(f"{name}_proj", -1)
        _set_attributes(node, attributes)
        if unit.input_ranges:
            for site in ("in", "mid"):
                name = f"{site}_range"
                set_input(node, name, _range_input(graph, f"{unit.id}.{name}", unit, site))
        if self.plan.neuron_ranks is not None:
            width = next(matrix.outputs for matrix in unit.matrices if matrix.projection == "up_proj")
            set_input(node, "neuron_rank", self._ranks(unit, width, graph))

    def _lower_matrices(self, unit: PlannedUnit, graph: ir.Graph) -> None:
        for matrix in unit.matrices:
            for product in list(products_of(graph.initializers[matrix.weight])):
                attributes = self._attributes(unit)
                attributes["transpose_weight"] = int(product.transposed)
                attributes["stream"] = matrix.stream
                inputs: list[ir.Value] = []
                if unit.input_ranges:
                    inputs = [_range_input(graph, f"{matrix.weight}.input_range", unit, matrix.weight)]
                analog = _lower_product(product, inputs, attributes, graph)
                if self.plan.neuron_ranks is not None:
                    divided = axis_of(unit.kind, unit.matrices, matrix)
                    for side, lines in (("input", matrix.inputs), ("output", matrix.outputs)):
                        owner = unit if divided == f"{side}s" else None
                        set_input(analog, f"{side}_rank", self._ranks(owner, lines, graph))

    def _ranks(self, unit: PlannedUnit | None, lines: int, graph: ir.Graph) -> ir.Value:
        """The constant `[lines]` of ranks along a side of a matrix; `NEVER` where no neurons are moved."""
        ranks = self.plan.neuron_ranks.ranks if self.plan.neuron_ranks else {}
        moved = unit is not None and unit.id in ranks and not unit.pinned
        name = f"{unit.id}.neuron_rank.{lines}" if unit and moved else f"hetc.never_digital.{lines}"
        if name not in graph.initializers:
            numbers = np.full(lines, NEVER, np.int32)
            if unit and moved:
                numbers = per_line(ranks[unit.id], lines)
            graph.register_initializer(ir.val(name, const_value=ir.tensor(numbers, name=name)))
        return graph.initializers[name]

    def _attributes(self, unit: PlannedUnit) -> dict[str, _Attribute]:
        """The attributes that all analog operators share, as docs/operators.md lists them."""
        profile = self.plan.profile
        # A pinned unit stays where it was put, whatever fraction a session asks for.
        switched = unit.rank is not None and not unit.pinned
        group_size = unit.group_size if switched else 0
        return {
            "unit": unit.id,
            "mode": MODE,
            "tile_rows": profile.tile_rows,
            "tile_columns": profile.tile_columns,
            "dac_bits": profile.dac_bits,
            "adc_bits": profile.adc_bits,
            "out_bound": float(profile.out_bound),
            **_noise_attributes(profile),
            "seed": self.plan.seed,
            "read_seed": 0,
            "rank": unit.rank or 0,
            "group_size": group_size,
            "digital_count": self.plan.digital_frac.count(group_size),
        }


def _require_opset(model: ir.Model) -> None:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None:
        raise ir.passes.PreconditionError(
            "the model names no version of the standard operators; export it again"
        )
    if opset not in OPSETS:
        raise ir.passes.PreconditionError(
            f"the model uses opset {opset}; hetc takes {OPSETS.start} to {OPSETS.stop - 1}: convert it with "
            "onnx.version_converter, or export it again"
        )


def _noise_attributes(profile: Profile) -> dict[str, _Attribute]:
    noise = profile.noise
    lists = {
        "noise_sigma": noise.sigma,
        "noise_sigma_breaks": noise.sigma_breaks,
        "noise_times": noise.times,
        "drift_mean": noise.drift_mean,
        "drift_deviation": noise.drift_deviation,
        "flicker_deviation": noise.flicker_deviation,
    }
    return {
        "noise_form": noise.form,
        **{name: ir.AttrFloat32s(name, values) for name, values in lists.items()},
        "noise_floor": float(noise.floor),
        "noise_offset": float(noise.offset),
        "noise_scale": float(profile.noise_scale),
        "drift_time": float(profile.drift_time),
        "drift_reference": float(noise.drift_reference),
        "drift_compensation": profile.drift_compensation,
        "flicker_noise": float(profile.flicker_noise),
        "flicker_read_time": float(noise.flicker_read_time),
        "output_noise": float(profile.output_noise),
        "weight_noise": float(profile.weight_noise),
        "weight_noise_form": profile.weight_noise_form,
        "ir_drop": float(profile.ir_drop),
        "dac_rounding": profile.dac_rounding,
        "bound_management": profile.bound_management,
        "scale_mode": profile.scale_mode,
    }


def _range_input(graph: ir.Graph, name: str, unit: PlannedUnit, site: str) -> ir.Value:
    """The constant `[S]` of a unit's static ranges; products that share a weight share it."""
    if name not in graph.initializers:
        numbers = np.array(unit.input_ranges[site], np.float32)
        graph.register_initializer(ir.val(name, const_value=ir.tensor(numbers, name=name)))
    return graph.initializers[name]


def _set_attributes(node: ir.Node, attributes: dict[str, _Attribute]) -> None:
    for name, value in attributes.items():
        node.attributes[name] = (
            value if isinstance(value, ir.Attr) else ir.convenience.convert_attribute(name, value)
        )


def _lower_product(
    product: Product, inputs: list[ir.Value], attributes: dict[str, _Attribute], graph: ir.Graph
) -> ir.Node:
    """Puts an `AnalogMatMul` in the place of a product; returns it."""
    node, (output,) = product.node, product.node.outputs
    bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    analog = ir.node("AnalogMatMul", [node.inputs[0], product.weight, *inputs], domain=DOMAIN, name=node.name)
    analog.metadata_props.update(node.metadata_props)
    _set_attributes(analog, attributes)
    new = [analog]
    if bias is not None:
        analog.outputs[0].name = f"{output.name}_product"
        new.append(ir.node("Add", [analog.outputs[0], bias], name=f"{node.name}_bias"))
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [output], [new[-1].outputs[0]])
    return analog
