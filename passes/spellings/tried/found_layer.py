"""Turns what was read of a layer into what the canonical one needs: its weights cut out of their stacks."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from hetc.passes.canonical.canonical_layer import ExpertWeights
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.spellings.initializers import as_initializer
from hetc.passes.spellings.linear import bias_row
from hetc.passes.spellings.products import Product
from hetc.passes.spellings.spelling import FoundLayer
from hetc.passes.spellings.tried.expert_form import ExpertProducts, Form, Part
from hetc.passes.spellings.tried.readings import Reading
from hetc.passes.spellings.tried.trial_runs import Run, Trial
from hetc.passes.spellings.weight_path import WeightPath

__all__ = ["found_layer"]


def found_layer(trial: Trial, run: Run, reading: Reading, x: ir.Value) -> FoundLayer:
    """The layer of a reading.

    Args:
        trial: What was run.
        run: One of its runs, for the sizes.
        reading: What fits its runs.
        x: The tokens, in the shape of the output or to be flattened to it.
    """
    form, experts = reading.form, trial.orders[reading.order]
    index, weight = trial.found.index, trial.others[reading.weight]
    glue = NamedTape(f"{trial.router.name}/chosen")
    chooser = index.producer()
    if chooser is not None and chooser.op_type == "ArgMax" and not chooser.attributes.get_int("keepdims", 1):
        index = glue.op("index", "Unsqueeze", [index, glue.constant("axis", [-1])])
        index.dtype = ir.DataType.INT64
    if run.others[trial.others.index(x)].shape != run.outputs[reading.output].shape:
        x = glue.op("tokens", "Reshape", [x, glue.constant("flat", [-1, run.x.shape[1]])])
        x.dtype = ir.DataType.FLOAT
    if run.others[reading.weight].size != run.index.size:
        weight = glue.op("weight", "GatherElements", [weight, index], axis=-1)
    views = [_matrices(expert, form) for expert in experts]
    turned = [view.T for matrices in views for _, view in matrices if view is not None]
    plain = [view for matrices in views for _, view in matrices if view is not None]
    transpose = sum(v.flags.c_contiguous for v in turned) >= sum(v.flags.c_contiguous for v in plain)
    found = []
    for expert, matrices in zip(experts, views, strict=True):
        parts = [
            None if view is None else as_initializer(path, view.T if transpose else view)
            for path, view in matrices
        ]
        gate_bias, up_bias, down_bias = _bias_values(trial, expert, form)
        assert parts[1] is not None and parts[2] is not None
        found.append(ExpertWeights(parts[1], parts[2], parts[0], gate_bias, up_bias, down_bias))
    return FoundLayer(
        x=x,
        top_k_index=index,
        top_k_weight=weight,
        experts=tuple(found),
        output=trial.outputs[reading.output],
        top_k=run.index.shape[1],
        hidden_size=run.x.shape[1],
        activation=form.activation,
        activation_attributes=dict(form.numbers),
        transpose_weight=transpose,
        glue=glue,
    )


def _matrices(expert: ExpertProducts, form: Form) -> list[tuple[WeightPath, NDArray[Any] | None]]:
    """Gate, up and down as `[in, out]`."""

    def cut(part: Part | None) -> tuple[WeightPath, NDArray[Any] | None]:
        if part is None:
            return expert.down.weight, None
        product = expert.ups[part.product]
        return product.weight, product.matrix(expert.index)[:, part.columns]

    return [cut(form.gate), cut(form.up), (expert.down.weight, expert.down.matrix(expert.index))]


def _bias_values(trial: Trial, expert: ExpertProducts, form: Form) -> list[ir.Value | None]:
    def cut(product: Product, columns: slice) -> ir.Value | None:
        path = trial.biases[product.node]
        if path is None:
            return None
        return as_initializer(path, bias_row(path, product, expert.index)[columns])

    gate = None if form.gate is None else cut(expert.ups[form.gate.product], form.gate.columns)
    up = cut(expert.ups[form.up.product], form.up.columns)
    return [gate, up, cut(expert.down, slice(None))]
