"""What a measurement was made of, as hashes and versions: columns of every row of results.

Rows with equal columns were measured on the same things, and a sweep's finished jobs are good for just the
inputs that these columns name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from hetc.base.progress import progress
from hetc.base.version import __version__
from hetc.model.hub import CHECKPOINT_FILES
from hetc.model.load import sha256
from hetc.model.measurement_cache import recall
from hetc.plan.plan import Plan
from hetc.runtimes.onnxruntime.library import library_path

__all__ = [
    "checkpoint_digest",
    "device_kind",
    "digest",
    "plan_digest",
    "runtime_columns",
    "tasks_digest",
    "tokens_digest",
]


def digest(data: Any) -> str:
    """sha256 of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def plan_digest(plan: Plan) -> str:
    """sha256 of what a plan decides; where its model lies, and how the graph was cut, is no part of it."""
    data = plan.to_dict()
    del data["partitions"]
    source = {key: value for key, value in plan.source.items() if key != "hub"}
    return digest({**data, "source": {**source, "file": ""}})


def tokens_digest(windows: np.ndarray) -> str:
    """sha256 of token ids `[windows, window]` int64."""
    return hashlib.sha256(windows.tobytes()).hexdigest()


def tasks_digest(task: str, include: Path | None) -> str:
    """sha256 of a task's name and of every file in the folder that may say what it is."""
    return digest([task, {} if include is None else _hashes(include, include.rglob("*"))])


def checkpoint_digest(folder: Path) -> str:
    """sha256 of a checkpoint's files."""
    return digest(_hashes(folder, (file for glob in CHECKPOINT_FILES for file in folder.glob(glob))))


def runtime_columns(
    checkpoint: Path | None, device: str, tasks: Sequence[str], *, kind: str | None = None
) -> dict[str, str]:
    """The columns `runtime`, `store`, `checkpoint_sha256` and `versions`.

    Args:
        checkpoint: The folder that torch runs, None for a bundle in ONNX Runtime.
        device: Where torch computes.
        tasks: lm-eval's tasks, if any.
        kind: What `device_kind` says of the device where that is on another machine; None for this one.

    Raises:
        UsageError: A device that torch doesn't have here.
    """
    kind = device_kind(device) if kind is None and checkpoint is not None else kind
    packages = ["numpy", "onnxruntime"] if checkpoint is None else ["numpy", "torch", "transformers"]
    versions = {name: _version(name) for name in [*packages, *(["lm_eval"] if tasks else [])]}
    if checkpoint is None:
        versions["libhetc_ops"] = sha256(library_path())[:12]
    return {
        "runtime": "onnxruntime" if checkpoint is None else f"torch {kind}",
        "store": "bfloat16",
        "checkpoint_sha256": "" if checkpoint is None else checkpoint_digest(checkpoint),
        "versions": ", ".join(f"{name} {each}" for name, each in {"hetc": __version__, **versions}.items()),
    }


def device_kind(name: str) -> str:
    """What sort of device a name of torch's stands for; results of the same sort agree to the last bit.

    The card's name is in it, since another card may round otherwise, and its number is not.

    Raises:
        UsageError: A device that torch doesn't have here.
    """
    import torch

    from hetc.runtimes.torch.support import device_errors

    if name == "auto":
        cards = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        return f"auto ({', '.join(sorted(cards)) or 'cpu'})"
    with device_errors(name):
        device = torch.device(name)
        if device.type == "cuda":  # asked without a context, which would take its memory from who computes
            return f"cuda ({torch.cuda.get_device_name(device)})"
        torch.zeros(1, device=device).item()
    return device.type


def _hashes(folder: Path, files: Iterable[Path]) -> Mapping[str, str]:
    """sha256 of regular files by their place in a folder; large ones that were read before are not again."""
    chosen = sorted(file for file in files if file.is_file() and "__pycache__" not in file.parts)
    with progress("reading files", sum(file.stat().st_size for file in chosen)) as advance:
        return {file.relative_to(folder).as_posix(): _hash(file, advance) for file in chosen}


def _hash(file: Path, advance: Any) -> str:
    known = recall(file)
    return sha256(file, advance) if known is None else known.sha256


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
