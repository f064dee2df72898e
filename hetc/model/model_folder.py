"""Which of a folder's files is its model, and where the files lie that say how text becomes tokens.

Repositories of ONNX models keep several variants of one model in a folder `onnx` (model.onnx, model_q4.onnx,
model_fp16.onnx, ...), and configuration and tokenizer above it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hetc.base.errors import UsageError
from hetc.model.hub_snapshot import find_snapshot
from hetc.model.text_files import TEXT_FILES
from hetc.model.vision_file import VISION_FILE

__all__ = ["ONNX", "choose_model", "model_name", "text_folder"]

logger = logging.getLogger(__name__)

ONNX = "onnx"
"""The folder of a repository that its models are in."""
PLAIN = "model.onnx"
VARIANT = "model_"
"""Begins the names of other precisions of the plain model."""


def choose_model(files: Iterable[str], where: str) -> str | None:
    """The model among the files of a folder, or else of its folder `onnx`.

    Of several variants it is the plain one; a message says which others there are.

    Args:
        files: Paths relative to the folder, with `/`; those deeper down are left alone.
        where: What the user wrote for the folder.

    Returns:
        One of `files`; None where none is a model.

    Raises:
        UsageError: Several models, none of which is the plain one of the others.
    """
    models = [
        path for path in map(PurePosixPath, files) if path.suffix == ".onnx" and path.name != VISION_FILE
    ]
    for parent in (PurePosixPath(), PurePosixPath(ONNX)):
        found = sorted(path for path in models if path.parent == parent)
        if len(found) == 1:
            return str(found[0])
        if not found:
            continue
        others = [path for path in found if path.name != PLAIN]
        if len(others) == len(found) or not all(path.name.startswith(VARIANT) for path in others):
            raise UsageError(f"{where} holds several models ({_listed(found)}); give one of the files")
        logger.warning("%s: takes %s; there are also %s", where, parent / PLAIN, _listed(others))
        return str(parent / PLAIN)
    return None


def text_folder(model: Path) -> Path:
    """Where the configuration and tokenizer of a model file lie: beside it, or above a folder `onnx`."""
    folder = model.parent
    if folder.absolute().name != ONNX or _has_text(folder):
        return folder
    above = folder.absolute().parent
    return above if _has_text(above) else folder


def model_name(model: Path) -> str:
    """What a model file is called: by its repository, where it is the plain one by its folder, or itself."""
    snapshot = find_snapshot(model)
    if snapshot is not None and model.name == PLAIN:
        return snapshot.repository.rpartition("/")[2]
    if model.name != PLAIN:
        return model.stem
    folder = model.absolute().parent
    return (folder.parent if folder.name == ONNX else folder).name


def _listed(paths: Iterable[PurePosixPath]) -> str:
    return ", ".join(map(str, paths))


def _has_text(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TEXT_FILES)
