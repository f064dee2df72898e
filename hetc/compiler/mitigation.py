"""Writes a model that noise and converters hurt less, without retraining: before anything is compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.output import whole_folder
from hetc.base.progress import progress
from hetc.base.workspace import workspace
from hetc.bundle.writer import save_model
from hetc.compiler.loading import find_model, load_moe_model
from hetc.compiler.recording import calibrate
from hetc.model.inputs import first_step
from hetc.model.model_folder import text_folder
from hetc.model.text_files import copy_text_files
from hetc.model.tokens import TokensLike, token_windows
from hetc.model.weight_file import WeightFile, weights_folder
from hetc.passes.mitigate.replace_experts import ReplaceExperts
from hetc.passes.mitigate.smooth_inputs import SmoothInputs, find_smoothable
from hetc.passes.run_passes import run_passes
from hetc.runtimes.onnxruntime.run_model import run_model
from hetc.runtimes.onnxruntime.session import open_graph

__all__ = ["mitigate"]

MODEL = "model.onnx"
WEIGHT_FILE = "weights.bin"


def mitigate(
    model: str | Path,
    data: TokensLike,
    output: str | Path,
    *,
    smooth: float | None = None,
    replace: int = 0,
    window: int = 256,
    windows: int = 32,
    force: bool = False,
) -> list[str]:
    """Writes a model with what was asked for, its weights and text files.

        >>> import hetc
        >>> tokens = "samples/tiny_moe/calibration.npz"
        >>> hetc.mitigate("samples/tiny_moe/model.onnx", tokens, "smooth", smooth=0.5, windows=2)
        ['smoothed 9 norms']

    Args:
        model: Path of the model, or of a folder with one.
        data: Token ids that show which channels are large and which experts are used: an array of integers,
            or the path of an .npz file with an array `tokens`.
        output: The folder to make.
        smooth: Smooth what norms hand on (`hetc.passes.mitigate.smooth_inputs`): how much of the spread moves
            into the weights, 0 .. 1. The model computes what it did.
        replace: In each layer so many of the least used experts give their place to second copies of the most
            used ones (`hetc.passes.mitigate.replace_experts`). The model changes a little.
        window: Tokens in a row.
        windows: How many rows, at most.
        force: Replace an existing folder.

    Returns:
        What was done, in words.

    Raises:
        UsageError: No such model, the output exists, nothing was asked for, or a value is out of range.
        InvalidInputError: A model that cannot be compiled, that takes no `input_ids`, or that has nothing to
            be smoothed or replaced, as a dense one has no experts.
    """
    if smooth is None and not replace:
        raise UsageError("nothing to do: give --smooth, --replace or both")
    if smooth is not None and not 0 <= smooth <= 1:
        raise UsageError(f"strength {smooth} of smoothing is not between 0 and 1")
    with whole_folder(Path(output), marker=MODEL, force=force) as folder:
        source, tokens = find_model(Path(model)), token_windows(data, window, windows)
        largest = _largest_channels(source, tokens) if smooth is not None else {}
        pairs = _pairs(source, tokens, replace) if replace else {}
        loaded = load_moe_model(source)
        done = []
        if smooth is not None:
            run_passes(loaded.model, SmoothInputs(largest, smooth))
            done.append(f"smoothed {len(largest)} norms")
        if pairs:
            replacing = ReplaceExperts(pairs)
            run_passes(loaded.model, replacing)
            if not replacing.replaced:
                raise InvalidInputError(f"model {source}: no expert can be replaced; -v says why")
            done.append(f"replaced {len(replacing.replaced)} experts")
        with WeightFile(folder / WEIGHT_FILE, folder) as weights:
            weights.take(loaded.model)
        save_model(loaded.model, folder / MODEL)
        copy_text_files(text_folder(source), folder)
    return done


def _pairs(model: Path, windows: NDArray[np.int64], count: int) -> dict[str, str]:
    """For each layer its `count` least used experts, and for each the one that gets its place."""
    routing = calibrate(model, windows, window=windows.shape[1]).routing
    if not routing:
        raise InvalidInputError(f"model {model}: it has no experts to replace")
    layers: dict[str, list[str]] = {}
    for expert in routing:
        layers.setdefault(expert.partition(".experts.")[0], []).append(expert)
    pairs: dict[str, str] = {}
    for layer, experts in layers.items():
        if 2 * count > len(experts):
            raise UsageError(f"{count} of the {len(experts)} experts of {layer} are too many to replace")
        ranked = sorted(experts, key=lambda expert: routing[expert].tokens)
        pairs.update(zip(ranked[:count], reversed(ranked), strict=False))
    return pairs


def _largest_channels(path: Path, windows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude in each channel behind every norm that can be smoothed, by its weight's name."""
    model = load_moe_model(path).model
    norms = find_smoothable(model)
    if not norms:
        raise InvalidInputError(f"model {path}: no norm leads to products alone; -v says what is in the way")
    for norm in norms:
        norm.output.type = norm.output.type or ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(norm.output)
    largest = {norm.weight.name or "": np.zeros(1, np.float32) for norm in norms}
    with workspace() as temporary:
        session = open_graph(model, weights_folder(model, path.parent, temporary))
        if "input_ids" not in {value.name for value in session.get_inputs()}:
            raise InvalidInputError(f"model {path}: smoothing needs a model that takes input_ids")
        beside = text_folder(path)
        with progress("smoothing", len(windows)) as advance:
            for window in windows:
                feeds = first_step(session, window[None], beside)
                outputs = run_model(session, [norm.output.name or "" for norm in norms], feeds)
                for name, output in zip(largest, outputs, strict=True):
                    channels = np.abs(output.astype(np.float32)).reshape(-1, output.shape[-1]).max(axis=0)
                    largest[name] = np.maximum(largest[name], channels)
                advance(1)
    return largest
