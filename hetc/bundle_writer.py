"""Writes bundles, whole or not at all: weights, models, plan, library, text files, manifest."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from hetc.bundle import (
    MANIFEST,
    MODEL,
    PLAN,
    PORTABLE_MODEL,
    WEIGHTS,
    Bundle,
    file_identity,
    load_bundle,
)
from hetc.model_file import sha256
from hetc.output import bring_file, whole_folder
from hetc.passes.require_library import RequireLibrary
from hetc.plan import Plan
from hetc.runtimes.onnxruntime.library import library_path
from hetc.text_files import TEXT_FILES
from hetc.weight_file import EXTERNAL_ABOVE

__all__ = ["finish_bundle", "save_model", "write_bundle"]


def write_bundle(
    model: ir.Model, plan: Plan, output: Path, *, link: bool = False, force: bool = False
) -> Bundle:
    """Writes a lowered model and its plan as a bundle; consumes the model.

    Args:
        model: The lowered and stamped model, without the guard.
        plan: Its plan.
        output: The folder to make.
        link: Hard-link the weight files instead of copying them.
        force: Replace an existing bundle.

    Raises:
        UsageError: The output exists or cannot be written, or weights lie on another file system.
        RuntimeMissingError: The operator library is not installed.
    """
    library = library_path()
    with whole_folder(output, marker=MANIFEST, force=force) as folder:
        linked = _place_weights(model, folder, link=link)
        save_model(model, folder / PORTABLE_MODEL)
        if plan.noisy:
            RequireLibrary()(model)
        save_model(model, folder / MODEL)
        plan.save(folder / PLAN)
        own = folder / "lib" / f"{platform.system().lower()}-{platform.machine()}" / library.name
        own.parent.mkdir(parents=True)
        shutil.copyfile(library, own)
        text_from = Path(plan.source["file"]).parent if plan.source["file"] else None
        finish_bundle(folder, text_from=text_from, library=own.relative_to(folder), linked=linked)
    return load_bundle(output)


def save_model(model: ir.Model, path: Path) -> None:
    """Writes the graph; external weights must lie where it names them."""
    onnx.save(ir.to_proto(model), path)


def finish_bundle(
    folder: Path,
    *,
    text_from: Path | None,
    library: Path | None = None,
    linked: Set[Path] = frozenset(),
    baked: Mapping[str, Any] | None = None,
) -> None:
    """Adds the text files and the manifest to a folder that holds everything else.

    Args:
        folder: The bundle in the making.
        text_from: Folder of the tokenizer and its like, if there is one.
        library: The operator library in the bundle, relative to it; None for a model that needs none.
        linked: Files that were hard-linked.
        baked: What `Bundle.baked` is to be.
    """
    if text_from is not None:
        _copy_text_files(text_from, folder, library)
    files = {
        file.relative_to(folder).as_posix(): _entry(file, linked=file in linked)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    record = {"files": files} if baked is None else {"files": files, "baked": baked}
    (folder / MANIFEST).write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def _place_weights(model: ir.Model, folder: Path, *, link: bool) -> set[Path]:
    """Brings every weight file into the bundle and points the tensors there; returns what was linked."""
    placed: dict[Path, Path] = {}
    inline = []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            source = Path(tensor.base_dir, tensor.location)
            if source not in placed:
                placed[source] = folder / WEIGHTS / tensor.location
                bring_file(source, placed[source], link=link)
            value.const_value = ir.ExternalTensor(
                placed[source].relative_to(folder).as_posix(),
                tensor.offset,
                tensor.length,
                tensor.dtype,
                shape=tensor.shape,
                name=value.name or "",
                base_dir=folder,
            )
        elif tensor is not None and tensor.nbytes > EXTERNAL_ABOVE:
            inline.append(value)
    if inline:
        (folder / WEIGHTS).mkdir(exist_ok=True)
        moved = ir.external_data.convert_tensors_to_external(
            [value.const_value for value in inline if value.const_value is not None],
            folder,
            f"{WEIGHTS}/inline.bin",
        )
        for value, tensor in zip(inline, moved, strict=True):
            value.const_value = tensor
    return set(placed.values()) if link else set()


def _copy_text_files(source: Path, folder: Path, library: Path | None) -> None:
    for name in TEXT_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    genai = source / "genai_config.json"
    if genai.is_file():
        config = json.loads(genai.read_text("utf-8"))
        decoder = config["model"]["decoder"]
        decoder["filename"] = MODEL
        options = decoder.setdefault("session_options", {})
        options.pop("custom_ops_library", None)
        if library is not None:
            options["custom_ops_library"] = library.as_posix()
        (folder / genai.name).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _entry(file: Path, *, linked: bool) -> dict[str, Any]:
    keys = ("size", "device", "inode", "mtime_ns") if linked else ("size",)
    return {"sha256": sha256(file), **file_identity(file, dict.fromkeys(keys))}
