"""ONNX models in repositories of the Hugging Face hub: which file it is, and what it needs beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import onnx_ir as ir

from hetc.base.errors import InvalidInputError, UsageError
from hetc.model.external_tensors import external_tensors
from hetc.model.generation_config import GENAI_CONFIG
from hetc.model.hub import NOT_FROM_THE_HUB, HubPlace
from hetc.model.model_folder import ONNX, choose_model
from hetc.model.text_files import TEXT_FILES
from hetc.model.vision_file import VISION_FILE

__all__ = ["fetch_model"]

WEIGHTS = (".safetensors", ".bin", ".gguf")


def fetch_model(place: HubPlace) -> Path:
    """Downloads a model with what hetc reads beside it: external data, configuration, tokenizer.

    Args:
        place: An ONNX file, or a folder with one (see `choose_model`).

    Returns:
        The file in the cache.

    Raises:
        UsageError: It can't be had, or there is no model, or several and no plain one.
        InvalidInputError: The file is no ONNX model.
    """
    named = place.path.suffix == ".onnx"
    folder = place.path.parent if named else place.path
    homes = dict.fromkeys((folder.parent, folder, folder / ONNX))
    snapshot = place.fetch(str(home / name) for home in homes for name in (*TEXT_FILES, GENAI_CONFIG))
    pinned = replace(place, revision=snapshot.name)
    files = pinned.files(snapshot)
    path = place.path if named else _model_in(folder, files, place.given)
    if str(path) not in files:
        models = ", ".join(file for file in files if file.endswith(".onnx"))
        raise UsageError(f"{place.given}: the repository has no such file, but {models or 'no ONNX model'}")
    for graph in (path, path.parent / VISION_FILE):
        if str(graph) in files:
            pinned.fetch([str(graph)])
            if data := _data_files(snapshot / graph, graph.parent):
                pinned.fetch(data)
    return snapshot / path


def _model_in(folder: PurePosixPath, files: Iterable[str], given: str) -> PurePosixPath:
    """The model of a folder of a repository."""
    inside = [str(path.relative_to(folder)) for path in map(PurePosixPath, files) if folder in path.parents]
    if {"manifest.json", "plan.json"} <= set(inside):
        raise UsageError(f"{given} is a bundle, {NOT_FROM_THE_HUB}")
    chosen = choose_model(inside, given)
    if chosen is not None:
        return folder / chosen
    models = [file for file in inside if file.endswith(".onnx")]
    if models:
        raise UsageError(f"{given} holds models in other folders; name one: {given.rstrip('/')}/{models[0]}")
    if any(file.endswith(WEIGHTS) for file in inside):
        name = given.rstrip("/").rpartition("/")[2].partition("@")[0]
        raise UsageError(
            f"{given} holds a checkpoint and no ONNX model; make one of it first: "
            f"hetc export {given} -o {name}-onnx"
        )
    raise UsageError(f"{given} holds no ONNX model; `hetc compile` takes one, `hetc export` makes one")


def _data_files(graph: Path, folder: PurePosixPath) -> set[str]:
    """The files that a graph's tensors lie in, by their paths in the repository."""
    try:
        model = ir.load(graph)
    except Exception as error:  # protobuf and onnx-ir raise many kinds, and all mean the same to the user
        raise InvalidInputError(f"model {graph} is not a readable ONNX file: {error}") from error
    return {str(folder / str(tensor.location)) for _, tensor in external_tensors(model)}
