"""The names of a bundle's files, and what a path leads to, for whoever gave a command the wrong thing."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "MANIFEST",
    "MODEL",
    "PARTITIONS",
    "PLAN",
    "PORTABLE_MODEL",
    "README",
    "TUNING",
    "WEIGHTS",
    "describe",
    "is_bundle",
]

MODEL = "model.onnx"
PORTABLE_MODEL = "model.portable.onnx"
PLAN = "plan.json"
PARTITIONS = "partitions.json"
MANIFEST = "manifest.json"
TUNING = "tune.json"
"""What `hetc tune` adds: no part of what was compiled, so that the manifest says nothing of it."""
README = "README.md"
"""How to run the bundle: for people, who may write more into it, so that the manifest doesn't have it."""
WEIGHTS = "weights"

IN_A_BUNDLE = {
    MANIFEST: "the manifest",
    PLAN: "the plan",
    TUNING: "the tuning",
    MODEL: "the model",
    PORTABLE_MODEL: "the portable model",
}
KINDS = {
    ".onnx": "a model",
    ".json": "a JSON file",
    ".safetensors": "a file of weights or measurements",
    ".toml": "a profile or sweep",
    ".npz": "a file of arrays",
    ".csv": "a table",
    ".parquet": "a table",
}


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, be it one whose manifest was lost."""
    return (folder / MANIFEST).is_file() or all((folder / name).is_file() for name in (PLAN, PORTABLE_MODEL))


def describe(path: Path) -> str:
    """What a path leads to, in words that follow "is": `a model`, `the plan of the bundle my.hetc`."""
    path = path.absolute()
    if path.is_dir():
        return _describe_folder(path)
    if not path.exists():
        return "no file or folder"
    if path.name in IN_A_BUNDLE and (path.parent / MANIFEST).is_file():
        return f"{IN_A_BUNDLE[path.name]} of the bundle {path.parent}"
    if path.name == PARTITIONS:
        return f"the list of the partitions in {path.parent}"
    return KINDS.get(path.suffix, "a file of an unknown kind")


def _describe_folder(folder: Path) -> str:
    if is_bundle(folder):
        return "a bundle"
    if (folder / PARTITIONS).is_file():
        return "a folder of partitions"
    if list(folder.glob("*.onnx")):
        return "a folder with a model"
    bundles = sorted(manifest.parent.name for manifest in folder.glob(f"*/{MANIFEST}"))
    if bundles:
        return f"a folder with the bundles {', '.join(bundles[:4])}"
    return f"a folder {'with weights' if list(folder.glob('*.safetensors')) else 'without a model'}"
