"""Spellings of other packages: tried after hetc's own, and refused where they are none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
from spelled_layers import spell

from hetc.base.errors import InvalidInputError
from hetc.passes import spellings
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.spellings.tried import separate_experts


def register(monkeypatch: pytest.MonkeyPatch, **plugins: object) -> None:
    monkeypatch.setattr(spellings, "load_plugins", lambda group: plugins if group == "hetc.spellings" else {})


def user_spelling() -> SimpleNamespace:
    """Experts whose router is marked, as no spelling of hetc's asks for."""
    return SimpleNamespace(
        NAME="a user's spelling",
        anchors=lambda graph: [node for node in graph if "user" in node.metadata_props],
        recognise=separate_experts.recognise,
    )


def test_plugins_come_after_those_of_hetc(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = user_spelling(), user_spelling()
    register(monkeypatch, a=first, b=second)
    assert spellings.known_spellings() == (*spellings.SPELLINGS, first, second)


def test_plugin_raises_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, user=user_spelling())
    monkeypatch.setattr(spellings, "SPELLINGS", ())
    model, _ = spell("non_zero")
    next(node for node in model.graph if node.op_type == "TopK").metadata_props["user"] = "MoE"
    raising = RaiseExperts()
    assert raising(model).modified
    assert [(finding.layer, finding.spelling) for finding in raising.findings] == [
        ("layers.7", "a user's spelling")
    ]


@pytest.mark.parametrize("part", ["NAME", "anchors", "recognise"])
def test_what_is_no_spelling_is_refused_by_name(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = user_spelling()
    delattr(broken, part)
    register(monkeypatch, broken=broken)
    with pytest.raises(InvalidInputError, match=f"plugin 'broken' .* is no spelling: it has no {part}$"):
        RaiseExperts()


def test_raising_promises_named_experts() -> None:
    model, _ = spell("non_zero")
    raising = RaiseExperts()
    raising(model)
    raising.ensures(model)
    node = next(node for node in model.graph if node.name == "layers.7.experts.3")
    node.name = "layers.7.experts.5"
    with pytest.raises(ir.passes.PostconditionError, match=r"layers\.7"):
        raising.ensures(model)


def test_nothing_raised_promises_nothing() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [2])
    y = ir.node("Add", [x, ir.val("c", const_value=ir.tensor(np.ones(2, np.float32), name="c"))])
    graph = ir.Graph([x], y.outputs, nodes=[y], initializers=[y.inputs[1]], opset_imports={"": 18})
    assert not RaiseExperts()(ir.Model(graph, ir_version=10)).modified
