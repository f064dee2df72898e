"""Scores that need gradients or activations: what the errors of a unit's device cost the model's loss.

`expected-loss` is the second-order estimate of the loss that a unit's programming noise adds, in nats per
token:

    1/2 sum_w  F_w  E[(w' - w)^2]          w: weights of the unit, w' what programming leaves of w

with F the diagonal of the Fisher information per token, estimated from the squared gradient of each window on
labels that the model itself draws. It is additive over weights: experts, dense modules and the neurons of
each share one scale. `noise-gain` is the squared error of an expert's weighted output, per token of text,
over random programmings. Beside them sensitivities are recorded (`hetc.plan.sensitivity`), from which
`device-loss` follows for any profile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from hetc.base.errors import InvalidInputError
from hetc.base.output import whole_file
from hetc.base.progress import progress
from hetc.base.seeds import check_seed
from hetc.hardware.profile import DEFAULT_PROFILE, Profile, load_profile
from hetc.huggingface.live.labels import draw_labels
from hetc.huggingface.live.live_model import open_model
from hetc.huggingface.live.noise_gain import noise_gain
from hetc.huggingface.live.products import product_weights, watch_products
from hetc.huggingface.live.recording import Recording
from hetc.model.tokens import TokensLike, check_vocabulary, token_windows
from hetc.plan.neurons import axis_of, count_neurons
from hetc.plan.scores import Scores
from hetc.plan.units import Matrix
from hetc.plan.weight_roles import kind_of_id

__all__ = ["measure_model", "measure_scores", "score"]

GAIN_WINDOWS = 16
"""Windows for `noise-gain`: an expert's error varies little over tokens."""
BATCH = 2048
"""Tokens that a backward pass takes: windows that are longer go one by one."""


def score(
    checkpoint: str | Path,
    data: TokensLike,
    output: str | Path | None = None,
    *,
    profile: Profile | str | Path = DEFAULT_PROFILE,
    window: int = 256,
    windows: int = 128,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
) -> Scores:
    """Measures what the noise of each unit of a checkpoint costs, on text that no evaluation uses.

        >>> import hetc
        >>> tokens = "samples/tiny_moe/calibration.npz"
        >>> scores = hetc.score("samples/tiny_moe", tokens, window=64, windows=2)
        >>> sorted(scores.values)
        ['expected-loss', 'noise-gain']

    Args:
        checkpoint: Folder of the checkpoint, or a hub id.
        data: Token ids: an array of integers, or the path of an .npz file with an array `tokens`.
        output: A file to write, `.safetensors`; None for none.
        profile: The hardware; its programming noise alone is looked at.
        window: Tokens in a row.
        windows: How many rows, at most.
        seed: Of the labels and noise that are drawn.
        device: Where torch computes.
        force: Replace an existing file.

    Raises:
        UsageError: No such checkpoint, a profile with drift, or the output exists.
        InvalidInputError: Experts that are not behind transformers' interface, or tokens the model doesn't
            know.
    """
    check_seed(seed)
    hardware = profile if isinstance(profile, Profile) else load_profile(profile)
    with nullcontext() if output is None else whole_file(Path(output), force=force) as staging:
        tokens = token_windows(data, window, windows)
        scores = measure_scores(checkpoint, tokens, hardware, seed=seed, device=device)
        if staging is not None:
            scores.save(staging)
    return scores


def measure_scores(
    source: str | Path,
    windows: NDArray[np.int64],
    profile: Profile,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Scores:
    """Measures a checkpoint on text.

    Args:
        source: Folder of the checkpoint, or a hub id.
        windows: Token ids `[windows, window]`; use other text than the evaluation's.
        profile: The hardware; its programming noise alone is looked at.
        seed: Of the labels and noise that are drawn.
        device: Where torch computes.

    Returns:
        `expected-loss` of every unit that can be analog and of its neurons; `noise-gain` of every expert, if
        there are any; and sensitivities.

    Raises:
        UsageError: No such checkpoint, or a profile with drift.
        InvalidInputError: Experts that are not behind transformers' interface, or tokens the model doesn't
            know.
    """
    with progress("opening the checkpoint"):
        model: Any = open_model(source, device, "auto" if device.startswith("cuda") else torch.float32)
    if model.dtype == torch.float16:
        model.float()  # Gradients may leave its range.
    check_vocabulary(windows, model.get_input_embeddings().num_embeddings, "the data")
    return measure_model(model, str(source), windows, profile, seed=seed)


def measure_model(
    model: PreTrainedModel, source: str, windows: NDArray[np.int64], profile: Profile, *, seed: int = 0
) -> Scores:
    """Measures an open model; see `measure_scores`.

    Beside the weights, memory holds vectors of every matrix, the inputs of every decoder layer, and what one
    layer calculates, for a batch of windows.

    Args:
        model: On any device; float32 or bfloat16.
        source: What the scores and messages call it.
        windows: Token ids that the model knows, `[windows, window]`.
        profile: The hardware; its programming noise alone is looked at.
        seed: Of the labels and noise that are drawn.

    Raises:
        UsageError: A profile with drift.
        InvalidInputError: A score is not finite.
    """
    tokens = torch.from_numpy(windows).to(model.device)
    gain = noise_gain(model, tokens[:GAIN_WINDOWS], profile, seed)
    recording = Recording(profile, product_weights(model))
    with watch_products(model, recording.watch, tokens.shape[1]):
        _draw_gradients(model, tokens, seed)
    losses = recording.losses(tokens.numel())
    loss = {
        unit: sum(float(by_output.sum()) for by_output, _ in parts.values()) for unit, parts in losses.items()
    }
    for unit, value in [*loss.items(), *gain.items()]:
        if not math.isfinite(value):
            raise InvalidInputError(f"{source}: unit {unit} scores {value}; are its weights finite?")
    config: Any = model.config
    heads = getattr(config.get_text_config(), "num_key_value_heads", 0) or 0
    neurons = {unit: _neuron_sums(unit, parts, heads) for unit, parts in losses.items()}
    origin = {"checkpoint": source, "tokens": str(windows.size), "seed": str(seed)}
    origin |= {"profile": profile.name, "noise": profile.noise.name, "noise_scale": str(profile.noise_scale)}
    return Scores(
        {"expected-loss": loss} | ({"noise-gain": gain} if gain else {}),
        origin,
        {"expected-loss": {unit: found for unit, found in neurons.items() if len(found)}},
        recording.sensitivities(tokens.numel()),
    )


def _draw_gradients(model: PreTrainedModel, tokens: torch.Tensor, seed: int) -> None:
    """Backward passes over all windows, on labels that the model draws."""
    batch = max(1, BATCH // tokens.shape[1])
    with progress("scoring", len(tokens)) as advance:
        for start in range(0, len(tokens), batch):
            windows = tokens[start : start + batch]
            logits = model(windows, use_cache=False).logits
            logits.backward(_loss_gradient(logits.detach(), start, seed))
            advance(len(windows))


def _loss_gradient(logits: torch.Tensor, first: int, seed: int) -> torch.Tensor:
    """That of the negative log likelihood; the last token of a window foretells nothing."""
    gradient = logits[:, :-1].float().softmax(-1)
    labels = draw_labels(gradient, first, seed)
    gradient.scatter_add_(-1, labels[..., None], gradient.new_full((*labels.shape, 1), -1))
    return nn.functional.pad(gradient.to(logits.dtype), (0, 0, 0, 1))


def _neuron_sums(
    unit: str, losses: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], heads: int
) -> NDArray[np.float32]:
    """`[neurons]`: sums over each neuron's weights; empty where the unit doesn't divide.

    Args:
        unit: Its id.
        losses: By projection, in order of use, sums by output `[N]` and by input `[K]`.
        heads: Key/value heads of an attention.
    """
    kind = kind_of_id(unit)
    matrices = [
        Matrix(projection, "", len(by_input), len(by_output), True, 0)
        for projection, (by_output, by_input) in losses.items()
    ]
    count = count_neurons(kind, matrices, heads)
    total = np.zeros(count)
    for matrix in matrices if count else ():
        side = 0 if axis_of(kind, matrices, matrix) == "outputs" else 1
        total += losses[matrix.projection][side].reshape(count, -1).sum(1)
    return total.astype(np.float32)
