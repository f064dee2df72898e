"""Writes bundles, whole or not at all: weights, models, plan, library, text files, manifest."""

from __future__ import annotations

import json
import platform
import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from hetc.base.bring_files import bring_files
from hetc.base.errors import InvalidInputError
from hetc.base.reading import read_json
from hetc.bundle.bundle import Bundle, file_identity, load_bundle
from hetc.bundle.files import MANIFEST, MODEL, PLAN, PORTABLE_MODEL, README, WEIGHTS
from hetc.bundle.readme import bundle_readme
from hetc.model.external_tensors import data_file, external_tensors, tensor_at
from hetc.model.load import sha256
from hetc.model.model_folder import text_folder
from hetc.model.text_files import copy_text_files, lies_in
from hetc.model.vision_file import VISION_FILE, open_vision
from hetc.model.weight_file import WeightFile
from hetc.model.weight_pass import FileIdentity
from hetc.model.weights import measured_files
from hetc.passes.rewrite.narrow_products import NarrowProducts
from hetc.passes.rewrite.require_library import RequireLibrary
from hetc.passes.run_passes import run_passes
from hetc.plan.plan import Plan
from hetc.runtimes.onnxruntime.library import library_path
from hetc.runtimes.onnxruntime.session import require_opens

__all__ = ["INLINE", "finish_bundle", "save_model", "write_bundle"]

GENAI_CONFIG = "genai_config.json"
INLINE = "inline.bin"
"""Where tensors go that the model held itself."""


def write_bundle(model: ir.Model, plan: Plan, folder: Path, *, link: bool = False) -> Bundle:
    """Writes a lowered model and its plan as a bundle, and opens it; consumes the model.

    Args:
        model: The lowered and stamped model, without the guard.
        plan: Its plan.
        folder: An empty folder (see `hetc.base.output.whole_folder`).
        link: Hard-link the weight files instead of copying them.

    Raises:
        UsageError: Weights lie on another file system.
        InvalidInputError: ONNX Runtime refuses what was made of the model.
        RuntimeMissingError: The operator library is not installed.
    """
    library = library_path()
    hashes = _place_weights(model, folder, link=link)
    save_model(model, folder / PORTABLE_MODEL)
    if plan.noisy:
        run_passes(model, RequireLibrary(), NarrowProducts())
    save_model(model, folder / MODEL)
    source = plan.source["file"]
    require_opens(folder / MODEL, f"model {source}" if source else "the model")
    if source:
        _bring_vision(model, Path(source).parent, folder, link=link)
    plan.save(folder / PLAN)
    own = folder / "lib" / f"{platform.system().lower()}-{platform.machine()}" / library.name
    own.parent.mkdir(parents=True)
    shutil.copyfile(library, own)
    text_from = text_folder(Path(source)) if source else None
    own = own.relative_to(folder)
    return finish_bundle(folder, text_from=text_from, library=own, hashes=hashes, linked=link)


def save_model(model: ir.Model, path: Path) -> None:
    """Writes the graph; external weights must lie where it names them."""
    proto = ir.to_proto(model)
    for tensor in proto.graph.initializer:
        # onnx-ir 1.1 writes the metadata of tensors that it copies from a proto twice.
        properties = {entry.key: entry for entry in tensor.metadata_props}
        if len(properties) < len(tensor.metadata_props):
            unique = list(properties.values())
            del tensor.metadata_props[:]
            tensor.metadata_props.extend(unique)
    onnx.save(proto, path)


def finish_bundle(
    folder: Path,
    *,
    text_from: Path | None,
    library: Path | None = None,
    hashes: Mapping[Path, str] | None = None,
    linked: bool = False,
    baked: Mapping[str, Any] | None = None,
) -> Bundle:
    """Adds text files, manifest and README to a folder that holds everything else, and opens the bundle.

    Args:
        folder: The bundle in the making.
        text_from: Folder of the tokenizer and its like, if there is one.
        library: The operator library in the bundle, relative to it; None for a model that needs none.
        hashes: The sha256 of files that need not be read again.
        linked: Whether those files were hard-linked.
        baked: What `Bundle.baked` is to be.

    Raises:
        InvalidInputError: A damaged genai_config.json, or a bundle that can't be opened.
    """
    if text_from is not None:
        copy_text_files(text_from, folder)
        genai = text_from / GENAI_CONFIG
        if lies_in(text_from, genai):
            _write_genai_config(genai, folder / GENAI_CONFIG, library)
    known = hashes or {}
    files = {
        file.relative_to(folder).as_posix(): _entry(file, known.get(file), linked=linked and file in known)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    record = {"files": files} if baked is None else {"files": files, "baked": baked}
    (folder / MANIFEST).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    try:
        bundle = load_bundle(folder)
    except InvalidInputError as error:
        said = str(error).replace(f"{folder.absolute()}/", "")
        raise InvalidInputError(f"the bundle can't be opened, so nothing was written: {said}") from error
    text = bundle_readme(bundle.plan, library=library, genai=(folder / GENAI_CONFIG).is_file())
    (folder / README).write_text(text, "utf-8")
    return bundle


def _place_weights(model: ir.Model, folder: Path, *, link: bool) -> dict[Path, str]:
    """Brings every weight file into the bundle, and large tensors that the model holds itself.

    Of a file that the model needs less than three quarters of, only what it needs is copied: the packed
    weights of analog units lie among those of digital ones.

    Returns:
        The sha256 of each file that was brought, by its place in the bundle.
    """
    measured = measured_files(model)
    sparse = set() if link else _sparse_files(model)
    targets: dict[Path, Path] = {}
    for slot, tensor in external_tensors(model):
        if data_file(tensor) in sparse:
            continue
        target = folder / WEIGHTS / tensor.location
        targets[data_file(tensor)] = target
        location = target.relative_to(folder).as_posix()
        slot.replace(tensor_at(tensor, location, tensor.offset, tensor.length, folder))
    if len(set(targets.values())) < len(targets):
        raise InvalidInputError(
            f"weights lie in files of one name in different folders, such as {next(iter(targets))}; save the "
            "model with its weights in one folder, then compile the file"
        )
    bring_files(targets, link=link)
    _move_inline(model, folder, sparse)
    for source in (*targets, *sparse):
        if FileIdentity.of(source) != measured[source].identity:
            raise InvalidInputError(f"{source} changed while it was compiled; run the command again")
    return {target: measured[source].sha256 for source, target in targets.items()}


def _sparse_files(model: ir.Model) -> set[Path]:
    """The weight files that the model needs less than three quarters of."""
    places = {(data_file(tensor), tensor.offset, tensor.nbytes) for _, tensor in external_tensors(model)}
    needed: Counter[Path] = Counter()
    for file, _, size in places:
        needed[file] += size
    return {file for file, size in needed.items() if 4 * size < 3 * file.stat().st_size}


def _bring_vision(model: ir.Model, source: Path, folder: Path, *, link: bool) -> None:
    """Brings the vision tower of a text part along, as it is; most of its weight files are there already."""
    vision = open_vision(model, source)
    if vision is None:
        return
    targets: dict[Path, Path] = {}
    for slot, tensor in external_tensors(vision):
        target = folder / WEIGHTS / tensor.location
        if not target.exists():
            targets[data_file(tensor)] = target
        location = target.relative_to(folder).as_posix()
        slot.replace(tensor_at(tensor, location, tensor.offset, tensor.length, folder))
    bring_files(targets, link=link)
    save_model(vision, folder / VISION_FILE)


def _move_inline(model: ir.Model, folder: Path, sparse: Collection[Path]) -> None:
    path = folder / WEIGHTS / INLINE
    while path.exists():
        path = path.with_name(f"_{path.name}")
    with WeightFile(path, folder) as file:
        file.take_from(model, sparse)
        file.take_inline(model)
    if not path.stat().st_size:
        path.unlink()
    with suppress(OSError):
        path.parent.rmdir()  # nothing lies in a file


def _write_genai_config(source: Path, target: Path, library: Path | None) -> None:
    """Brings onnxruntime-genai's configuration along, for the bundle's model and library."""
    config = read_json(source, "configuration")
    try:
        decoder = config["model"]["decoder"]
        decoder["filename"] = MODEL
        options = decoder.setdefault("session_options", {})
        options.pop("custom_ops_library", None)
        if library is not None:
            options["custom_ops_library"] = library.as_posix()
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"configuration {source}: model.decoder or its session_options is no table; mend or remove it"
        ) from error
    target.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _entry(file: Path, digest: str | None, *, linked: bool) -> dict[str, Any]:
    keys = ("size", "device", "inode", "mtime_ns") if linked else ("size",)
    return {"sha256": digest or sha256(file), **file_identity(file, dict.fromkeys(keys))}
