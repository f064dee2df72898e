"""The bundle: the folder that is deployed. Written whole, opened with its files checked."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from hetc.errors import InvalidInputError, UsageError
from hetc.model_file import sha256
from hetc.output import whole_folder
from hetc.passes.require_library import RequireLibrary
from hetc.plan import Plan, digital_count, parse_fraction
from hetc.runtimes.onnxruntime.library import library_path

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Bundle", "load_bundle", "write_bundle"]

logger = logging.getLogger(__name__)

MODEL = "model.onnx"
PORTABLE_MODEL = "model.portable.onnx"
PLAN = "plan.json"
MANIFEST = "manifest.json"
WEIGHTS = "weights"
EXTERNAL_ABOVE = 1 << 12
"""Bytes above which a tensor that the source kept inline moves into the weights folder."""
TEXT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
)
"""What lies beside the source model and belongs to running it as text."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: Its folder.
        plan: Its plan.
        manifest: For each file its sha256 and size, and for linked weights also device, inode and mtime.
    """

    path: Path
    plan: Plan
    manifest: Mapping[str, Mapping[str, Any]]

    def session(
        self,
        *,
        mode: str | None = None,
        seed: int | None = None,
        digital_frac: str | float | None = None,
        noise_scale: float | None = None,
        store: str | None = None,
        stats_file: Path | None = None,
        threads: int | None = None,
        low_memory: bool = False,
    ) -> onnxruntime.InferenceSession:
        """Opens the model with the installed operator library.

        Args:
            mode: `exact`, `converters` or `noisy`; None for what was compiled (noisy).
            seed: Programming seed; None for the plan's.
            digital_frac: Share of each group's experts that runs digital; may only exceed the compiled one.
            noise_scale: Factor c on the programming noise; None for the profile's.
            store: What programmed weights are kept as: `bfloat16` (default), `float32` or `int8`.
            stats_file: Where analog kernels add what they saw (see `hetc.calibration`) when the session ends.
            threads: Threads of the session; None leaves it to ONNX Runtime.
            low_memory: Leave weights of standard operators unpacked in the file map; their products
                get slower.

        Raises:
            UsageError: A value out of range, or a share below the compiled one.
            RuntimeMissingError: The library or ONNX Runtime is missing or too old.
        """
        from hetc.runtimes.onnxruntime.session import open_session

        if digital_frac is not None:
            self._check_fraction(digital_frac)
        config = {
            "hetc.mode": mode,
            "hetc.seed": seed,
            "hetc.digital_frac": None if digital_frac is None else format(parse_fraction(digital_frac), "f"),
            "hetc.noise_scale": noise_scale,
            "hetc.store": store,
            "hetc.stats_file": stats_file,
            "session.disable_prepacking": 1 if low_memory else None,
        }
        return open_session(
            self.path / MODEL,
            {key: str(value) for key, value in config.items() if value is not None},
            threads=threads,
        )

    def _check_fraction(self, digital_frac: str | float) -> None:
        fraction, compiled = parse_fraction(digital_frac), parse_fraction(self.plan.digital_frac)
        sizes = {unit.group_size for unit in self.plan.units if unit.kind == "expert"}
        if any(digital_count(fraction, size) < digital_count(compiled, size) for size in sizes):
            raise UsageError(
                f"digital fraction {fraction} is below the {compiled} that {self.path} was compiled with; "
                "compile at 0 to choose any fraction per session"
            )


def load_bundle(path: str | Path) -> Bundle:
    """Opens a bundle and checks that every file of its manifest is there, at its size.

    Weights that were linked must be the very file that was linked; `hetc verify` compares all hashes.

    Raises:
        UsageError: No such folder.
        InvalidInputError: Not a bundle, or one whose files are missing or changed.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"bundle {path}: no such folder")
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"bundle {path}: {MANIFEST} is missing or damaged; compile it again"
        ) from error
    for name, entry in manifest.items():
        file = path / name
        if not file.is_file():
            raise InvalidInputError(f"bundle {path}: {name} is missing; compile it again")
        if _identity(file, entry) != entry:
            raise InvalidInputError(f"bundle {path}: {name} changed since it was compiled; compile it again")
    return Bundle(path, Plan.load(path / PLAN), manifest)


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
        _save(model, folder / PORTABLE_MODEL)
        if plan.noisy:
            RequireLibrary()(model)
        _save(model, folder / MODEL)
        plan.save(folder / PLAN)
        own = folder / "lib" / f"{platform.system().lower()}-{platform.machine()}" / library.name
        own.parent.mkdir(parents=True)
        shutil.copyfile(library, own)
        if plan.source["file"]:
            _copy_text_files(Path(plan.source["file"]).parent, folder, own.relative_to(folder))
        manifest = {
            file.relative_to(folder).as_posix(): _entry(file, linked=file in linked)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        (folder / MANIFEST).write_text(json.dumps({"files": manifest}, indent=1) + "\n", "utf-8")
    return load_bundle(output)


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
                _bring(source, placed[source], link=link)
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


def _bring(source: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if not link:
        shutil.copyfile(source, target)
        return
    try:
        os.link(source, target)
    except OSError as error:
        raise UsageError(
            f"cannot link {source} into the bundle ({error.strerror}); compile without --link to copy it"
        ) from error


def _save(model: ir.Model, path: Path) -> None:
    onnx.save(ir.to_proto(model), path)


def _copy_text_files(source: Path, folder: Path, library: Path) -> None:
    for name in TEXT_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    genai = source / "genai_config.json"
    if genai.is_file():
        config = json.loads(genai.read_text("utf-8"))
        decoder = config["model"]["decoder"]
        decoder["filename"] = MODEL
        decoder.setdefault("session_options", {})["custom_ops_library"] = library.as_posix()
        (folder / genai.name).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _entry(file: Path, *, linked: bool) -> dict[str, Any]:
    keys = ("size", "device", "inode", "mtime_ns") if linked else ("size",)
    return {"sha256": sha256(file), **_identity(file, dict.fromkeys(keys))}


def _identity(file: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a file without reading it, for the keys of `like`; sha256 is taken over."""
    status = file.stat()
    known = {
        "size": status.st_size,
        "device": status.st_dev,
        "inode": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
    }
    return {key: known.get(key, value) for key, value in like.items()}
