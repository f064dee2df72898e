"""Cuts a bundle into one model and one weight file per partition; run in order, they equal the whole.

`partitions.json` lists the parts in order, each with its target, its files, and the tensors that enter and
leave it: inputs of the whole model, or outputs of earlier parts.

An expert with digital neurons is in two parts: its analog neurons where the expert would be, its digital ones
in a digital part right behind, which may run at the same time. A later digital part adds what they make;
`sums` in `partitions.json` names the three tensors.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, ShapeInferencePass

from hetc.base.errors import InvalidInputError
from hetc.base.output import whole_folder
from hetc.base.progress import progress
from hetc.base.version import __version__
from hetc.bundle.bundle import BundleLike, opened_bundle
from hetc.bundle.conductances import write_conductances
from hetc.bundle.files import PARTITIONS
from hetc.bundle.writer import save_model
from hetc.model.load import load_model
from hetc.model.weight_file import WeightFile
from hetc.operators import schemas
from hetc.passes.analysis.cut_partitions import describe_partitions, read_values
from hetc.passes.rewrite.require_library import RequireLibrary
from hetc.passes.rewrite.split_neurons import NeuronSum, SplitNeurons
from hetc.passes.rewrite.stamp_targets import StampTargets
from hetc.passes.run_passes import run_passes
from hetc.plan.plan import Partition
from hetc.runtimes.onnxruntime.session import require_opens

__all__ = ["partition_bundle"]

CONDUCTANCES = "conductances"


def partition_bundle(
    bundle: BundleLike,
    output: str | Path,
    *,
    per_expert: bool = False,
    conductances: bool = False,
    g_max: float | None = None,
    seed: int | None = None,
    force: bool = False,
) -> tuple[Partition, ...]:
    """Writes the parts of a bundle, and `partitions.json` that says how they run.

    Analog parts of a noisy bundle need the library, as the bundle does; those of a baked one run anywhere.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "whole.hetc")
        >>> parts = hetc.partition_bundle(bundle, "parts")
        >>> len(parts), parts[0].target, parts[1].target
        (9, 'digital', 'analog')

    Args:
        bundle: The bundle, or its folder.
        output: The folder to make.
        per_expert: Make every node of an analog partition that holds experts a part of its own, and the
            digital neurons of each expert another.
        conductances: Also write target conductances and a tile map (`hetc.bundle.conductances`).
        g_max: For `conductances`: microsiemens of a weight as large as its scale.
        seed: For `conductances`: write what programming with this seed leaves instead of the targets.
        force: Replace an existing folder of partitions.

    Returns:
        The parts in the order in which they run.

    Raises:
        UsageError: The output exists, or conductances that the bundle or its noise model does not have.
        InvalidInputError: A model without partitions, a tensor between them of unknown type, or a part that
            ONNX Runtime refuses.
    """
    bundle, output = opened_bundle(bundle), Path(output)
    with whole_folder(output, marker=PARTITIONS, force=force) as folder:
        schemas.register()
        model = load_model(bundle.graph_file).model
        _require_partitions(model.graph, bundle.graph_file)
        if conductances:
            write_conductances(model, bundle, folder / CONDUCTANCES, g_max=g_max, seed=seed)
        split = SplitNeurons()
        run_passes(model, ShapeInferencePass(), split)
        unit_of = {
            node.name or "": unit for node in model.graph if (unit := node.metadata_props.get("hetc.unit"))
        }
        if split.sums:
            run_passes(model, StampTargets(unit_of))
        members = _members(model.graph, split.sums, per_expert=per_expert)
        parts = describe_partitions(members, unit_of)
        guarded = bundle.plan.noisy and bundle.baked is None
        files = []
        with progress("writing partitions", len(parts)) as advance:
            for part, nodes in zip(parts, members, strict=True):
                extracted = _extract(model, nodes, part)
                files.append(_write_part(extracted, part, folder, guard=guarded and part.target == "analog"))
                where = f"bundle {bundle.path}, partition {part.index}"
                require_opens(folder / str(files[-1]["model"]), where)
                advance(1)
        manifest = {
            "hetc": {"version": __version__},
            "source": bundle.plan.source,
            "baked": bundle.baked,
            "inputs": [value.name for value in model.graph.inputs],
            "outputs": [value.name for value in model.graph.outputs],
            "sums": [asdict(one) for one in split.sums],
            "partitions": [{**asdict(part), **names} for part, names in zip(parts, files, strict=True)],
        }
        (folder / PARTITIONS).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return parts


def _require_partitions(graph: ir.Graph, file: Path) -> None:
    for node in graph:
        if "hetc.partition" not in node.metadata_props:
            raise InvalidInputError(
                f"{file}: node {node.name!r} has no partition in its metadata; compile the bundle again"
            )


def _members(graph: ir.Graph, sums: Sequence[NeuronSum], *, per_expert: bool) -> list[list[ir.Node]]:
    """The nodes of each part, by the partition that is stamped on them; digital neurons behind the analog."""
    makers = {node.outputs[0].name: node for node in graph}
    beside = {makers[one.analog]: makers[one.digital] for one in sums}
    apart = set(beside.values())
    stamped: dict[int, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node not in apart:
            stamped[int(node.metadata_props["hetc.partition"])].append(node)
    members: list[list[ir.Node]] = []
    for _, nodes in sorted(stamped.items()):
        single = per_expert and any(node.op_type == "AnalogExpert" for node in nodes)
        for group in [[node] for node in nodes] if single else [nodes]:
            members.append(group)
            if neurons := [beside[node] for node in group if node in beside]:
                members.append(neurons)
    return members


def _extract(model: ir.Model, nodes: Sequence[ir.Node], part: Partition) -> ir.Model:
    """A model of its own with copies of the nodes."""
    values = {value.name or "": value for n in nodes for value in (*read_values(n), *n.outputs)}
    for name in (*part.inputs, *part.outputs):
        if values[name].dtype is None:
            raise InvalidInputError(
                f"tensor {name!r} between partitions has no known type; shape inference stops at an "
                "operator before it"
            )
    view = ir.GraphView(
        [values[name] for name in part.inputs],
        [values[name] for name in part.outputs],
        nodes=nodes,
        initializers=[value for value in values.values() if value.is_initializer()],
        opset_imports=model.graph.opset_imports,
        name=f"partition_{part.index}_{part.target}",
    )
    extracted = ir.Model(
        view.clone(),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        functions=list(model.functions.values()),
    )
    run_passes(extracted, RemoveUnusedFunctionsPass())  # type: ignore[no-untyped-call]
    return extracted


def _write_part(model: ir.Model, part: Partition, folder: Path, *, guard: bool) -> dict[str, str | None]:
    """Writes model and weights; returns their names, None for weights that are small enough for the model."""
    name = f"{part.index:04d}-{part.target}"
    weights = folder / f"{name}.bin"
    with WeightFile(weights, folder) as file:
        file.take(model)
    empty = weights.stat().st_size == 0
    if empty:
        weights.unlink()
    if guard:
        run_passes(model, RequireLibrary())
    save_model(model, folder / f"{name}.onnx")
    return {"model": f"{name}.onnx", "weights": None if empty else weights.name}
