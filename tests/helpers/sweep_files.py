"""A small sweep of the sample, as the text of a TOML file."""

from __future__ import annotations

from pathlib import Path

from command_line import SAMPLE

__all__ = ["SMALLEST", "SPEC", "written"]

SPEC = f"""
model = "{SAMPLE / "model.onnx"}"
data = "{SAMPLE / "heldout.npz"}"
window = 64
windows = 2
scores = ["maxnn", "random"]
fractions = [0, 0.5, 1]
noise_scales = [0, 8]
seeds = 2
"""

SMALLEST = f"""
model = "{SAMPLE / "model.onnx"}"
data = "{SAMPLE / "heldout.npz"}"
window = 64
windows = 2
fractions = [0]
seeds = 1
"""
"""One measurement."""


def written(folder: Path, text: str = SPEC) -> Path:
    """The file with the text, in a folder."""
    path = folder / "sweep.toml"
    path.write_text(text)
    return path
