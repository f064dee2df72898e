"""The same model has the same units and shares, whoever exported it: by names of weights, nodes or structure."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest
from exporters import (
    folded,
    with_numbered_nodes,
    with_numbered_weights,
    with_scopes,
    with_torchscript_nodes,
)
from places import SAMPLES

from hetc.compiler.loading import load_moe_model
from hetc.passes.analysis.find_units import find_units
from hetc.plan.units import Unit

Change = Callable[[ir.Model], ir.Model]


def onnx_names(model: ir.Model) -> ir.Model:
    return with_numbered_weights(model, "onnx::MatMul_{}")


def renamed(model: ir.Model) -> ir.Model:
    return with_numbered_weights(model)


SPELLINGS: dict[str, tuple[Change, ...]] = {
    "names of nodes": (with_torchscript_nodes, onnx_names),
    "scopes": (with_scopes, with_numbered_nodes, with_scopes, renamed),
    "transposed weights": (folded,),
    "transposed weights, names of nodes": (folded, with_torchscript_nodes, onnx_names),
    "no names": (renamed, with_numbered_nodes),
    "transposed weights, no names": (folded, renamed, with_numbered_nodes),
}


def sizes(units: tuple[Unit, ...]) -> dict[str, tuple[int, int, bool]]:
    """What shares are made of."""
    return {unit.id: (unit.parameters, len(unit.matrices), bool(unit.unsupported)) for unit in units}


@pytest.mark.parametrize("sample", ["tiny_moe", "tiny_deepseek"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_units_do_not_depend_on_the_exporter(sample: str, spelling: str) -> None:
    path = SAMPLES / sample / "model.onnx"
    expected = sizes(find_units(load_moe_model(path).model))
    model = load_moe_model(path).model
    for change in SPELLINGS[spelling]:
        change(model)
    assert sizes(find_units(model)) == expected
