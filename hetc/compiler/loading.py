"""Opens what users hand to commands: a model, a folder with one, a bundle or a plan.

Every command goes through here, so that all take the same things and say the same where they can't.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Union

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass

from hetc.base.errors import InvalidInputError, UsageError
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import MANIFEST, PARTITIONS, PLAN, describe, is_bundle
from hetc.model.hub import is_hub_id, local_path
from hetc.model.load import LoadedModel, load_model
from hetc.model.model_folder import ONNX, choose_model
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.rewrite.dequantise_weights import DequantiseWeights
from hetc.passes.rewrite.raise_experts import RaiseExperts
from hetc.passes.run_passes import run_passes
from hetc.plan.finding import Finding
from hetc.plan.plan import Plan

__all__ = ["ModelLike", "find_model", "load_moe_model", "open_placed", "open_plan"]

ModelLike = Union[str, Path, onnx.ModelProto, ir.Model, Any]
"""A path (of a model, or of a folder with one), `hf://OWNER/NAME` of the hub, an onnx ModelProto, an onnx-ir
Model or a gs.Graph."""
REPOSITORY = re.compile(r"[\w.-]+/[\w-][\w.-]*")
"""What may be meant for a repository of the hub."""

CHECKPOINT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def load_moe_model(model: ModelLike, *, allow_partial: bool = False) -> LoadedModel:
    """Loads a model and makes its MoE layers canonical.

    Args:
        model: What the user has; it isn't changed.
        allow_partial: Leave layers of an unknown spelling as they are, where there are others.

    Raises:
        UsageError: The path isn't there or leads to something else, or the object is of another kind.
        InvalidInputError: Not a usable model, or an MoE layer of an unknown spelling; names each.
    """
    loaded = _load_raised(model)
    unknown = [finding for finding in loaded.findings if not finding.raised]
    some = any(node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS for node in loaded.model.graph)
    if unknown and not (allow_partial and some):
        raise InvalidInputError(_unknown_spellings(unknown, others=some))
    return loaded


def _load_raised(model: ModelLike) -> LoadedModel:
    """A model whose MoE layers are canonical as far as their spellings are known; findings say how far."""
    loaded = load_model(find_model(Path(model)) if isinstance(model, (str, Path)) else model)
    raising = RaiseExperts()
    inline = InlinePass(lambda function: _may_be_inlined(function, loaded.model))
    run_passes(loaded.model, inline, DequantiseWeights(), raising)
    run_passes(loaded.model, LiftConstantsToInitializersPass())
    return replace(loaded, findings=raising.findings)


def _may_be_inlined(function: ir.Function, model: ir.Model) -> bool:
    """Whether a function can be put in its place: units are found, and placed, in the graph alone.

    hetc's own stay, being what its operators do where there is no kernel.
    """
    known = model.opset_imports
    return function.domain != DOMAIN and all(
        known.get(domain, version) == version for domain, version in function.opset_imports.items()
    )


def open_placed(path: str | Path, *, any_spelling: bool = False) -> Bundle | Plan | LoadedModel:
    """A bundle, a plan or a model, whichever a path leads to.

    Args:
        path: What the user has.
        any_spelling: Open models whose MoE layers have an unknown spelling, too, to say so.

    Raises:
        UsageError: Nothing is there, or something else.
        InvalidInputError: It cannot be read.
    """
    path = Path(path)
    if is_bundle(path):
        return load_bundle(path)
    if path.suffix == ".json" and path.is_file():
        if path.name in (MANIFEST, PARTITIONS):
            raise UsageError(f"{path} is {describe(path)}; give the folder, or its {PLAN}")
        return Plan.load(path)
    return _load_raised(path) if any_spelling else load_moe_model(path)


def open_plan(path: str | Path) -> Bundle | Plan:
    """A bundle or a plan; raises as `open_placed`, and `UsageError` for a model."""
    opened = open_placed(path)
    if isinstance(opened, LoadedModel):
        raise UsageError(f"{path} is a model; compile it, and give the bundle or its {PLAN}")
    return opened


def find_model(path: Path) -> Path:
    """The model file that a path leads to: itself, or the one in a folder or in a repository of the hub.

    Raises:
        UsageError: Nothing is there, or a bundle, a plan, a checkpoint, or several models, or it can't be
            had from the hub.
    """
    if is_hub_id(path):
        return local_path(path, "model")
    if path.is_dir():
        return _model_in(path)
    if path.suffix == ".json" and path.is_file():
        raise UsageError(
            f"{path} is {describe(path)}, no model; a plan is followed by `hetc compile MODEL --plan {path}`"
        )
    if path.suffix == ".safetensors" and path.is_file():
        raise UsageError(f"{path} holds weights or measurements, not a graph; give a model's .onnx file")
    if not path.exists():
        may_be = f"; a repository of the hub is hf://{path}" if REPOSITORY.fullmatch(str(path)) else ""
        raise UsageError(f"model {path}: no such file{may_be}")
    if not path.is_file():
        raise UsageError(f"model {path} is no regular file; give the path of an .onnx file")
    return path


def _model_in(folder: Path) -> Path:
    if is_bundle(folder):
        source = load_bundle(folder).plan.source["file"]
        made_of = f", such as {source}" if source else ""
        raise UsageError(f"{folder} is a bundle; give the model that it was compiled from{made_of}")
    files = [*folder.glob("*.onnx"), *folder.glob(f"{ONNX}/*.onnx")]
    model = choose_model((file.relative_to(folder).as_posix() for file in files), str(folder))
    if model is not None:
        return folder / model
    if any((folder / name).is_file() for name in CHECKPOINT_FILES):
        raise UsageError(
            f"{folder} is a checkpoint; make a model of it first: hetc export {folder} -o {folder.name}-onnx"
        )
    raise UsageError(
        f"{folder} is {describe(folder)}; give a model's .onnx file, or the folder that holds it"
    )


def _unknown_spellings(findings: Iterable[Finding], *, others: bool) -> str:
    """What to do about layers that hetc doesn't know; leaving them helps only if there are `others`."""
    lines = [f"  {finding}" for finding in findings]
    advice = (
        "--allow-partial leaves them as they are, digital"
        if others
        else "there is none that it knows; `hetc export CHECKPOINT` writes models that it does"
    )
    return f"{len(lines)} MoE layers have a spelling that hetc doesn't know; {advice}\n" + "\n".join(lines)
