"""Passes run in one sequence, and a broken precondition is a sentence."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from models import moe_model

from hetc.base.errors import InvalidInputError, UsageError
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import load_model
from hetc.passes.rewrite.freeze_weights import FreezeWeights
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.passes.rewrite.record_routing import RecordRouting
from hetc.passes.rewrite.require_library import RequireLibrary
from hetc.passes.rewrite.stamp_targets import StampTargets
from hetc.passes.run_passes import run_passes
from hetc.plan.plan import Plan


class Step(ir.passes.InPlacePass):
    """Notes that it ran, or raises what it is given."""

    def __init__(self, ran: list[str], name: str, error: Exception | None = None) -> None:
        super().__init__()
        self.ran, self.name, self.error = ran, name, error

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if self.error is not None:
            raise self.error
        self.ran.append(self.name)
        return ir.passes.PassResult(model, modified=self.name == "second")


def plan_of(model: ir.Model) -> Plan:
    return make_plan(load_model(model), Placement(digital_frac=0, analog=("lm_head",)), Profile())


def test_in_order_and_says_whether_anything_changed() -> None:
    ran: list[str] = []
    assert run_passes(moe_model(), Step(ran, "first"), Step(ran, "second"))
    assert ran == ["first", "second"]
    assert not run_passes(moe_model(), Step(ran, "third"))


def test_an_error_of_ours_comes_out_as_it_is() -> None:
    ran: list[str] = []
    with pytest.raises(UsageError, match="as it is"):
        run_passes(moe_model(), Step(ran, "first"), Step(ran, "second", UsageError("as it is")))
    assert ran == ["first"]


def test_another_error_stays_an_internal_one() -> None:
    with pytest.raises(ir.passes.PassError) as caught:
        run_passes(moe_model(), Step([], "first", KeyError("x")))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_plan_of_another_model_is_a_sentence() -> None:
    plan = plan_of(moe_model(layers=3))
    with pytest.raises(
        InvalidInputError, match=r"unit 'layers\.2.*' has no value|make the plan of this model"
    ):
        run_passes(load_model(moe_model(layers=2)).model, LowerAnalog(plan))


def test_an_unknown_opset_is_a_sentence() -> None:
    model = moe_model()
    plan = plan_of(model)
    model.opset_imports[""] = 17
    with pytest.raises(InvalidInputError, match="opset 17"):
        run_passes(model, LowerAnalog(plan))


def test_a_weight_without_value_is_a_sentence() -> None:
    from hetc.passes.analysis.find_units import find_units

    model = moe_model()
    units = find_units(model)
    model.graph.initializers["lm_head.weight"].const_value = None
    with pytest.raises(InvalidInputError, match=r"'lm_head\.weight' of unit 'lm_head' has no value"):
        run_passes(model, FreezeWeights(units))


def test_experts_outside_of_canonical_layers_are_a_sentence() -> None:
    from hetc.passes.analysis.find_units import find_units

    model = load_model(moe_model()).model
    units = find_units(model)
    experts = [node for node in model.graph if node.op_type == "Expert"]
    experts[0].replace_input_with(0, model.graph.inputs[0])
    with pytest.raises(InvalidInputError, match="not an expert of a canonical layer"):
        run_passes(model, RecordRouting(units))


def test_a_model_that_reads_no_input_cannot_be_guarded() -> None:
    constant = ir.val("c", const_value=ir.tensor([1.0], name="c"))
    node = ir.node("Identity", [constant], name="copy")
    graph = ir.Graph(
        [ir.val("unused", ir.DataType.FLOAT, [1])], node.outputs, nodes=[node], initializers=[constant]
    )
    graph.opset_imports[""] = 18
    with pytest.raises(InvalidInputError, match="none of its inputs"):
        run_passes(ir.Model(graph, ir_version=10), RequireLibrary())


def test_nodes_need_names_of_their_own() -> None:
    model = load_model(moe_model()).model
    model.graph[1].name = model.graph[0].name
    with pytest.raises(InvalidInputError, match="no name of its own"):
        run_passes(model, StampTargets({}))
