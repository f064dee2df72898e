"""Scores that need gradients or activations: what a unit's programming noise costs the model's loss.

`expected-loss` is the second-order estimate of the loss that a unit's noise adds, in nats per token:

    1/2 sum_w  F_w  E[(w' - w)^2]          w: weights of the unit, w' what programming leaves of w

with F the diagonal of the Fisher information per token, estimated from one backward pass per window on labels
that the model itself draws. It is additive over weights, so experts and dense modules share one scale.
`noise-gain` is the squared error of an expert's weighted output, per token of text, over random programmings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward
from transformers.pytorch_utils import Conv1D

from hetc.base.errors import InvalidInputError
from hetc.base.output import whole_file
from hetc.base.seeds import check_seed
from hetc.hardware.profile import DEFAULT_PROFILE, Profile, load_profile
from hetc.huggingface.experts import choose_experts_function, experts_modules
from hetc.huggingface.live.live_model import open_model
from hetc.huggingface.live.weight_noise import draw_weights, mean_square_error
from hetc.model.tokens import TokensLike, check_vocabulary, token_windows
from hetc.plan.scores import Scores
from hetc.plan.units import DENSE
from hetc.plan.weight_roles import layer_name, unit_of_weight

__all__ = ["measure_scores", "score"]

Report = Callable[[int, int], None]
"""Takes how many windows are done, and of how many."""

GAIN_WINDOWS = 16
"""Windows for `noise-gain`: an expert's error varies little over tokens."""
GAIN_DRAWS = 2
MEASURED = "hetc_measured"
"""Name of the experts function that measures the gain."""


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
    report: Report = lambda done, total: None,
) -> Scores:
    """Measures a checkpoint on text.

    Args:
        source: Folder of the checkpoint, or a hub id.
        windows: Token ids `[windows, window]`; use other text than the evaluation's.
        profile: The hardware; its programming noise alone is looked at.
        seed: Of the labels and noise that are drawn.
        device: Where torch computes.
        report: Called after every window.

    Returns:
        `expected-loss` of every unit that can be analog; `noise-gain` of every expert, if there are any.

    Raises:
        UsageError: No such checkpoint, or a profile with drift.
        InvalidInputError: Experts that are not behind transformers' interface, or tokens the model doesn't
            know.
    """
    model = open_model(source, device)
    embeddings: Any = model.get_input_embeddings()
    check_vocabulary(windows, embeddings.num_embeddings, "the data")
    tokens = torch.from_numpy(windows).to(device)
    gained = tokens[:GAIN_WINDOWS] if any(True for _ in experts_modules(model)) else tokens[:0]
    steps = len(gained) + len(tokens)
    gain = _noise_gain(model, gained, profile, seed, lambda done: report(done, steps))
    loss = _expected_loss(model, tokens, profile, seed, lambda done: report(len(gained) + done, steps))
    for unit, value in [*loss.items(), *gain.items()]:
        if not math.isfinite(value):
            raise InvalidInputError(f"{source}: unit {unit} scores {value}; are its weights finite?")
    origin = {"checkpoint": str(source), "tokens": str(windows.size), "seed": str(seed)}
    origin |= {"profile": profile.name, "noise": profile.noise.name, "noise_scale": str(profile.noise_scale)}
    return Scores({"expected-loss": loss} | ({"noise-gain": gain} if gain else {}), origin)


def _expected_loss(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    profile: Profile,
    seed: int,
    report: Callable[[int], None],
) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    choose_experts_function(model, "grouped_mm")
    model.requires_grad_(False)
    for unit, parameter, transposed in _analog_parameters(model):
        parameter.requires_grad_(True)
        error = _by_outputs(lambda weight: mean_square_error(weight, profile), parameter, transposed)
        hooked: Any = parameter
        hooked.register_post_accumulate_grad_hook(_fisher_hook(unit, error, totals))
    generator = torch.Generator(tokens.device).manual_seed(seed)
    for index, window in enumerate(tokens):
        logits = model(window[None]).logits[0, :-1].float()
        labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
        loss: Any = nn.functional.cross_entropy(logits, labels, reduction="sum")
        loss.backward()
        report(index + 1)
    return {unit: total / (2 * tokens.numel()) for unit, total in totals.items()}


def _analog_parameters(model: PreTrainedModel) -> list[tuple[str, nn.Parameter, bool]]:
    """Weights that can be analog: unit (`layers.3.experts` for a stack), and whether `[inputs, outputs]`."""
    stacks = dict(experts_modules(model))
    found = []
    for name, parameter in model.named_parameters():
        path = name.rpartition(".")[0]
        if path in stacks:
            if parameter.ndim == 3:
                found.append((f"{layer_name(path)}.experts", parameter, bool(stacks[path].is_transposed)))
        elif parameter.ndim == 2:
            role = unit_of_weight(name)
            if role is not None and role.kind in DENSE:
                found.append((role.unit_id, parameter, isinstance(model.get_submodule(path), Conv1D)))
    return found


def _by_outputs(
    function: Callable[[torch.Tensor], torch.Tensor], weight: torch.Tensor, transposed: bool
) -> torch.Tensor:
    """Applies a function of `[..., outputs, inputs]` to a weight that may be stored the other way."""
    weight = weight.detach()
    return function(weight.transpose(-1, -2)).transpose(-1, -2) if transposed else function(weight)


def _fisher_hook(unit: str, error: torch.Tensor, totals: dict[str, float]) -> Callable[[torch.Tensor], None]:
    def add(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        weighted = parameter.grad.float() ** 2 * error
        if weighted.ndim == 3:
            for expert, value in enumerate(weighted.sum((1, 2), dtype=torch.float64).tolist()):
                totals[f"{unit}.{expert}"] += value
        else:
            totals[unit] += float(weighted.sum(dtype=torch.float64))
        parameter.grad = None

    return add


def _noise_gain(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    profile: Profile,
    seed: int,
    report: Callable[[int], None],
) -> dict[str, float]:
    """Runs the clean model, and each layer's experts on the side with noisy weights."""
    gains: dict[str, float] = {}
    generator = torch.Generator(tokens.device).manual_seed(seed)
    stacks = dict(experts_modules(model))
    for path, module in stacks.items():
        gains.update({f"{layer_name(path)}.experts.{expert}": 0.0 for expert in range(module.num_experts)})
        module.hetc_layer = layer_name(path)
        module.hetc_draws = [
            {
                name: _by_outputs(
                    lambda weight: draw_weights(weight, profile, generator), one, module.is_transposed
                )
                for name, one in module.named_parameters(recurse=False)
                if one.ndim == 3
            }
            for _ in range(GAIN_DRAWS)
        ]

    def measured(module: Any, x: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        # One row per token and choice, so that each expert's error is seen by itself.
        rows = x.repeat_interleave(index.shape[1], 0), index.reshape(-1, 1), weight.reshape(-1, 1)
        clean = grouped_mm_experts_forward(module, *rows)
        for draw in module.hetc_draws:
            with _weights_of(module, draw):
                error = (grouped_mm_experts_forward(module, *rows) - clean).square().sum(1).double()
            for expert in set(index.flatten().tolist()):
                chosen = float(error[index.reshape(-1) == expert].sum())
                gains[f"{module.hetc_layer}.experts.{expert}"] += chosen
        return clean.reshape(*index.shape, -1).sum(1)

    ALL_EXPERTS_FUNCTIONS.register(MEASURED, measured)
    choose_experts_function(model, MEASURED)
    with torch.no_grad():
        for done, window in enumerate(tokens):
            model(window[None])
            report(done + 1)
    for module in stacks.values():
        del module.hetc_draws
    return {unit: total / (tokens.numel() * GAIN_DRAWS) for unit, total in gains.items()}


@contextmanager
def _weights_of(module: nn.Module, weights: dict[str, torch.Tensor]) -> Iterator[None]:
    """The module with other weights, for a moment."""
    parameters = {name: getattr(module, name) for name in weights}
    clean = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name]
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = clean[name]
