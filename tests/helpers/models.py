"""Small models for tests, built with the builders that exports use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hetc.operators.expert import expert_function
from hetc.passes.analysis.set_ranges import sites_of
from hetc.passes.canonical.canonical_layer import ExpertWeights, build_canonical_layer
from hetc.plan.plan import Plan
from hetc.runtimes.reference import split

__all__ = ["moe_model", "saved_moe_model", "with_static_converters"]


def moe_model(
    *,
    layers: int = 2,
    experts: int = 4,
    hidden: int = 8,
    inter: int = 6,
    vocabulary: int = 11,
    top_k: int = 2,
    dtype: type = np.float32,
    gated: bool = True,
    activation: str = "silu",
    seed: int = 0,
) -> ir.Model:
    """A language model of embedding, `layers` of attention-like projection and MoE, and an LM head.

    `input_ids [T]` int64 -> `logits [T, vocabulary]` float32. Weights have checkpoint names and `dtype`. With
    no experts, layers have MLPs instead.
    """
    random = np.random.default_rng(seed)
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18, "hetc": 1}, name="moe")

    def weight(name: str, *shape: int) -> ir.Value:
        numbers = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(dtype)
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        graph.register_initializer(value)
        return value

    def op(operator: str, inputs: list[ir.Value], outputs: int = 1, **attributes: object) -> ir.Value:
        node = ir.node(operator, inputs, attributes, num_outputs=outputs)
        graph.append(node)
        return node.outputs[outputs - 1]

    def project(x: ir.Value, name: str, *shape: int) -> ir.Value:
        wide = op("Cast", [weight(name, *shape)], to=ir.DataType.FLOAT.value)
        return op("MatMul", [x, op("Transpose", [wide], perm=[1, 0])])

    ids = ir.val("input_ids", ir.DataType.INT64, ["T"])
    graph.inputs.append(ids)
    x = op("Gather", [weight("model.embed_tokens.weight", vocabulary, hidden), ids], axis=0)
    x = op("Cast", [x], to=ir.DataType.FLOAT.value)
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        x = op("Add", [x, project(x, f"{prefix}.self_attn.q_proj.weight", hidden, hidden)])
        if not experts:
            up = op("Relu", [project(x, f"{prefix}.mlp.up_proj.weight", inter, hidden)])
            x = op("Add", [x, project(up, f"{prefix}.mlp.down_proj.weight", hidden, inter)])
            continue
        router = op("Softmax", [project(x, f"{prefix}.mlp.gate.weight", experts, hidden)], axis=-1)
        count = ir.val(f"count_{layer}", const_value=ir.tensor([top_k], name=f"count_{layer}"))
        graph.register_initializer(count)
        indices = op("TopK", [router, count], outputs=2, axis=-1, largest=1, sorted=1)
        built = build_canonical_layer(
            x,
            indices,
            indices.producer().outputs[0],
            [
                ExpertWeights(
                    gate=weight(f"{prefix}.mlp.experts.{e}.gate_proj.weight", inter, hidden)
                    if gated
                    else None,
                    up=weight(f"{prefix}.mlp.experts.{e}.up_proj.weight", inter, hidden),
                    down=weight(f"{prefix}.mlp.experts.{e}.down_proj.weight", hidden, inter),
                )
                for e in range(experts)
            ],
            layer=f"layers.{layer}",
            top_k=top_k,
            hidden_size=hidden,
            activation=activation,
        )
        for constant in built.constants:
            graph.register_initializer(constant)
        graph.extend(built.nodes)
        x = op("Add", [x, built.output])
    logits = project(x, "lm_head.weight", vocabulary, hidden)
    logits.name, logits.dtype, logits.shape = "logits", ir.DataType.FLOAT, ir.Shape(["T", vocabulary])
    graph.outputs.append(logits)
    if not experts:
        del graph.opset_imports["hetc"]
        return ir.Model(graph, ir_version=10)
    operator = "Expert" if dtype == np.float32 else "Expert16"
    function = expert_function(operator, opset=18, gated=gated, activation=activation)
    return ir.Model(graph, ir_version=10, functions=[function])


def saved_moe_model(folder: Path) -> Path:
    """The path of a model in a new folder `model`, its weights in a file of their own."""
    (folder / "model").mkdir()
    path = folder / "model" / "model.onnx"
    ir.save(moe_model(hidden=32, inter=16), path, external_data="weights.bin")
    return path


def with_static_converters(plan: Plan, rule: str, bound: float, *, input_range: float = 0.7) -> Plan:
    """The plan, as if a calibration had given every analog unit one input range and one ADC bound."""
    units = []
    for unit in plan.units:
        slices = {site: len(split(width, plan.profile.tile_rows)) for site, width in sites_of(unit).items()}
        static = replace(
            unit,
            input_ranges={site: (input_range,) * count for site, count in slices.items()},
            adc_bounds={site: (bound,) * count for site, count in slices.items()},
            ranges_from="own",
        )
        units.append(static if unit.target == "analog" else unit)
    return replace(plan, units=tuple(units), range_rule="max", adc_bound_rule=rule)
