"""Cuts a lowered graph into partitions and writes target, unit and partition into each node's metadata.

Runs last, so that nothing drops it. `layer_ann` is the key that ONNX Runtime's annotation partitioning reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from hetc.passes.analysis.cut_partitions import cut_partitions, target_of
from hetc.plan.plan import Partition

__all__ = ["StampTargets"]


class StampTargets(ir.passes.InPlacePass):
    """Adds `hetc.target`, `hetc.partition`, `layer_ann` and, where known, `hetc.unit` to every node.

    Args:
        unit_of: Unit id by node name; nodes outside of units may be missing.

    Attributes:
        partitions: After `call`, the partitions in execution order.
    """

    def __init__(self, unit_of: Mapping[str, str]) -> None:
        super().__init__()
        self.unit_of = unit_of
        self.partitions: tuple[Partition, ...] = ()

    def requires(self, model: ir.Model) -> None:
        """Every node has a name of its own, by which partitions and units know it."""
        seen: set[str | None] = {None, ""}
        for node in model.graph:
            if node.name in seen:
                raise ir.passes.PreconditionError(f"node {node.name!r} has no name of its own")
            seen.add(node.name)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.partitions, partition_of = cut_partitions(model, self.unit_of)
        for node in model.graph:
            name, target = node.name or "", target_of(node)
            stamp: dict[str, str] = {"hetc.target": target, "layer_ann": target}
            stamp["hetc.partition"] = str(partition_of[name])
            if name in self.unit_of:
                stamp["hetc.unit"] = self.unit_of[name]
            node.metadata_props.update(stamp)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Stages never fall along an edge, so that partitions run one after the other."""
        partition_of = {node: int(node.metadata_props["hetc.partition"]) for node in model.graph}
        for node, partition in partition_of.items():
            for value in node.inputs:
                producer = value.producer() if value is not None else None
                if producer is not None and partition_of.get(producer, 0) > partition:
                    raise ir.passes.PostconditionError(f"node {node.name!r} runs before {producer.name!r}")
