"""Loads a model from whatever the user has, and refuses what cannot be compiled, by name."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from hetc.base.errors import InvalidInputError, UsageError
from hetc.model.checks import check_graph, check_model, check_proto, is_sorted
from hetc.model.external_tensors import external_tensors
from hetc.model.hub_snapshot import find_snapshot
from hetc.plan.finding import Finding

__all__ = ["CHECKPOINT_KEY", "LoadedModel", "load_model", "sha256"]

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = "hetc.checkpoint"
"""Of a model's metadata: where on the hub the checkpoint is that it was exported from."""
MODEL_FILE_LIMIT = 2 << 30
"""Protobuf cannot parse more; larger weights belong into external files."""


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        model: The model; external weights stay in their files.
        source: `file`, `sha256` and `producer`, as the plan records them; empty strings where unknown. `hub`
            where it, or the checkpoint that it was exported from, is of the Hugging Face hub.
        findings: The MoE layers that were not canonical, once they have been looked for.
    """

    model: ir.Model
    source: dict[str, str]
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"model {self.source['file']}" if self.source["file"] else "the model"

    @property
    def folder(self) -> Path:
        """Where its external weights lie."""
        return Path(self.source["file"]).parent


def sha256(path: Path, advance: Callable[[int], None] = lambda read: None) -> str:
    """Hexadecimal digest of a file's contents; `advance` is told how many bytes were read."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def load_model(model: str | Path | onnx.ModelProto | ir.Model | Any) -> LoadedModel:
    """Takes a path, a ModelProto, an onnx-ir Model or a graphsurgeon Graph.

    Every node gets a unique name, since plans refer to nodes by name.

    Raises:
        UsageError: The path isn't there, or the object is of another kind.
        InvalidInputError: Not an ONNX model, or one with missing, truncated or escaping external data.
    """
    if isinstance(model, (str, Path)):
        loaded = _load_file(Path(model))
    elif isinstance(model, ir.Model):
        loaded = _in_memory(model.clone(deep_copy=True))
    elif isinstance(model, onnx.ModelProto):
        check_proto(model, "the model")
        loaded = _in_memory(ir.from_proto(_in_order(model)))
    elif type(model).__module__.startswith("onnx_graphsurgeon"):
        import onnx_graphsurgeon

        loaded = _in_memory(ir.from_proto(onnx_graphsurgeon.export_onnx(model, do_type_check=False)))
    else:
        raise UsageError(
            f"cannot compile a {type(model).__name__}; give a path, ModelProto, ir.Model or gs.Graph"
        )
    _name_nodes(loaded.model)
    return loaded


def _load_file(path: Path) -> LoadedModel:
    if not path.is_file():
        raise UsageError(f"model {path}: no such file")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"model {path} is empty")
    if path.stat().st_size > MODEL_FILE_LIMIT:
        raise InvalidInputError(f"model {path} is larger than 2 GiB; save its weights as external data")
    try:
        proto = onnx.load(path, load_external_data=False)
        check_proto(proto, f"model {path}")
        proto = _in_order(proto)
        check_graph(proto, f"model {path}")
        model = ir.from_proto(proto)
    except InvalidInputError:
        raise
    except Exception as error:  # protobuf and onnx-ir raise many kinds, and all mean the same to the user
        raise InvalidInputError(f"model {path} is not a readable ONNX file (truncated?): {error}") from error
    for _, tensor in external_tensors(model):
        tensor.base_dir = path.parent
    check_model(model, f"model {path}")
    return LoadedModel(model, _source(model, path))


def _in_memory(model: ir.Model) -> LoadedModel:
    check_model(model, "the model")
    return LoadedModel(model, _source(model))


def _source(model: ir.Model, file: Path | None = None) -> dict[str, str]:
    """Where a model comes from, as the plan records it."""
    snapshot = None if file is None else find_snapshot(file)
    hub = model.metadata_props.get(CHECKPOINT_KEY, "") if snapshot is None else snapshot.id
    return {
        "file": "" if file is None else str(file),
        "sha256": "" if file is None else sha256(file),
        "producer": model.producer_name or "",
        **({"hub": hub} if hub else {}),
    }


def _in_order(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes sorted; itself where they are, or where a circle makes that impossible."""
    if is_sorted(proto):
        return proto
    model = ir.from_proto(proto)
    try:
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
    except ValueError:
        return proto  # the checker says what is wrong with it
    return ir.to_proto(model)


def _name_nodes(model: ir.Model) -> None:
    taken = {node.name for node in model.graph}
    seen: set[str] = set()
    for index, node in enumerate(model.graph):
        if not node.name or node.name in seen:
            name = f"{node.name or node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name or "")
