"""Writes target, unit and partition into each node's metadata. Runs last, so that nothing drops it.

`layer_ann` is the key that ONNX Runtime's annotation partitioning reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from hetc.passes.analysis.cut_partitions import target_of

__all__ = ["StampTargets"]


class StampTargets(ir.passes.InPlacePass):
    """Adds `hetc.target`, `hetc.bundle.partition`, `layer_ann` and, where known, `hetc.unit` to every node.

    Args:
        partition_of: Partition index by node name.
        unit_of: Unit id by node name.
    """

    def __init__(self, partition_of: Mapping[str, int], unit_of: Mapping[str, str]) -> None:
        super().__init__()
        self.partition_of = partition_of
        self.unit_of = unit_of

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for node in model.graph:
            name, target = node.name or "", target_of(node)
            stamp = {"hetc.target": target, "layer_ann": target}
            stamp["hetc.bundle.partition"] = str(self.partition_of[name])
            if name in self.unit_of:
                stamp["hetc.unit"] = self.unit_of[name]
            node.metadata_props.update(stamp)
        return ir.passes.PassResult(model, modified=True)
