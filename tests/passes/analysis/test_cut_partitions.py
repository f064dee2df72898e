"""Partitions cover every node once, hold one target each, and never wait for each other in a circle."""

from __future__ import annotations

import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from hetc.passes.analysis.cut_partitions import cut_partitions, target_of


@st.composite
def graphs(draw: st.DrawFn) -> ir.Model:
    """A random graph of digital and analog nodes, each reading one to three earlier values."""
    x = ir.val("x", ir.DataType.FLOAT, [1])
    values, nodes = [x], []
    for index in range(draw(st.integers(1, 25))):
        analog = draw(st.booleans())
        inputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
        node = ir.node(
            "AnalogMatMul" if analog else "Sum", inputs, domain="hetc" if analog else "", name=f"n{index}"
        )
        node.outputs[0].name = f"v{index}"
        nodes.append(node)
        values.append(node.outputs[0])
    graph = ir.Graph([x], [values[-1]], nodes=nodes, opset_imports={"": 18, "hetc": 1})
    return ir.Model(graph, ir_version=10)


@given(graphs())
def test_partitions_run_in_order(model: ir.Model) -> None:
    partitions, partition_of = cut_partitions(model, {})
    assert partition_of.keys() == {node.name for node in model.graph}
    assert sum(partition.nodes for partition in partitions) == len(model.graph)
    for node in model.graph:
        own = partition_of[node.name or ""]
        assert partitions[own].target == target_of(node)
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None:
                # Never backwards: so the order is acyclic and no path leaves a partition and returns.
                assert partition_of[producer.name or ""] <= own


@given(graphs())
def test_boundaries_are_what_crosses(model: ir.Model) -> None:
    partitions, partition_of = cut_partitions(model, {})
    made = {value.name: partition_of[node.name or ""] for node in model.graph for value in node.outputs}
    for partition in partitions:
        for name in partition.inputs:
            assert name == "x" or made[name] < partition.index
        assert all(made[name] == partition.index for name in partition.outputs)
    needed = {name for partition in partitions for name in partition.inputs} - {"x"}
    given_out = {name for partition in partitions for name in partition.outputs}
    assert given_out == needed | {value.name for value in model.graph.outputs}


def test_experts_of_a_layer_share_a_partition() -> None:
    from models import moe_model

    model = moe_model(layers=3, experts=4)
    for node in model.graph:
        if node.op_type == "Expert":
            node.op_type = "AnalogExpert"
    partitions, _ = cut_partitions(model, {node.name or "": node.name or "" for node in model.graph})
    assert [partition.target for partition in partitions] == ["digital", "analog"] * 3 + ["digital"]
    assert [partition.nodes for partition in partitions if partition.target == "analog"] == [4, 4, 4]
