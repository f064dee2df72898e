"""Writes a model whose norms hand on smoother channels (see `hetc.passes.smooth_inputs`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.bundle_writer import save_model
from hetc.errors import InvalidInputError, UsageError
from hetc.model_inputs import first_step
from hetc.output import whole_folder
from hetc.passes.smooth_inputs import SmoothInputs, find_smoothable
from hetc.pipeline import load_moe_model
from hetc.progress import progress
from hetc.runtimes.onnxruntime.session import FOLDER_KEY, open_session
from hetc.text_files import TEXT_FILES
from hetc.weight_file import WeightFile

__all__ = ["smooth_model"]

MODEL = "model.onnx"
WEIGHT_FILE = "weights.bin"


def smooth_model(
    model: Path, windows: np.ndarray, output: Path, *, strength: float = 0.5, force: bool = False
) -> int:
    """Writes the model with smoothed norms, its weights and text files.

    Args:
        model: Path of the model.
        windows: Token ids `[windows, window]` that show which channels are large.
        output: The folder to make.
        strength: How much of the spread moves from the activations to the weights, 0 .. 1.
        force: Replace an existing folder.

    Returns:
        How many norms were smoothed.

    Raises:
        UsageError: The model isn't there, the output exists, or the strength is out of range.
        InvalidInputError: A model that cannot be compiled, that takes no `input_ids`, or without such a norm.
    """
    if not 0 <= strength <= 1:
        raise UsageError(f"strength {strength} is not between 0 and 1")
    largest = _largest_channels(model, windows)
    loaded = load_moe_model(model)
    with whole_folder(output, marker=MODEL, force=force) as folder:
        SmoothInputs(largest, strength)(loaded.model)
        with WeightFile(folder / WEIGHT_FILE, folder) as weights:
            weights.take(loaded.model)
        save_model(loaded.model, folder / MODEL)
        for name in TEXT_FILES:
            if (model.parent / name).is_file():
                shutil.copyfile(model.parent / name, folder / name)
    return len(largest)


def _largest_channels(path: Path, windows: np.ndarray) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude in each channel behind every norm that can be smoothed, by its weight's name."""
    model = load_moe_model(path).model
    norms = find_smoothable(model)
    if not norms:
        raise InvalidInputError(f"model {path}: no norm leads to products alone; -v says what is in the way")
    for norm in norms:
        norm.output.type = norm.output.type or ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(norm.output)
    session = open_session(ir.to_proto(model).SerializeToString(), {FOLDER_KEY: str(path.parent.absolute())})
    if "input_ids" not in {value.name for value in session.get_inputs()}:
        raise InvalidInputError(f"model {path}: smoothing needs a model that takes input_ids")
    largest = {norm.weight.name or "": np.zeros(1, np.float32) for norm in norms}
    with progress("smoothing", len(windows)) as advance:
        for window in windows:
            outputs = session.run([norm.output.name for norm in norms], first_step(session, window[None]))
            for name, output in zip(largest, outputs, strict=True):
                channels = np.abs(output.astype(np.float32)).reshape(-1, output.shape[-1]).max(axis=0)
                largest[name] = np.maximum(largest[name], channels)
            advance(1)
    return largest
