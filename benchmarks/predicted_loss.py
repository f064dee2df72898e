"""What `device-loss` predicts that a model loses on a device, against what it loses.

    hetc score samples/tiny_moe --data samples/tiny_moe/calibration.npz --windows 16 -o moe.safetensors
    python benchmarks/predicted_loss.py samples/tiny_moe moe.safetensors

For each kind of unit alone and all of them, the live model runs on held-out text with dynamic ranges. Beside
the difference of losses stands the divergence of the predicted tokens from those of the digital model, which
is what the prediction is of: on a short text it is free of the luck of which tokens came. Profiles with one
cause of errors alone come first. Markdown; means over programming seeds, +- their standard error.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hetc.compiler.compile import plan_model
from hetc.compiler.placement import Placement
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile, load_profile
from hetc.huggingface.live.apply import apply_plan
from hetc.huggingface.live.live_model import open_model
from hetc.model.tokens import token_windows
from hetc.passes.analysis.device_loss import predicted_loss
from hetc.plan.plan import Plan
from hetc.plan.scores import load_scores

SCALES = (1.0, 1.5, 2.5, 8.0)
MONTH = 30 * 86400.0
BATCH = 4


def profiles(base: Profile) -> dict[str, Profile]:
    """Hardware by what it is called in the table."""
    quiet = replace(base, noise=NOISE_MODELS["none"])
    bare = replace(base, dac_bits=0, adc_bits=0)
    return {
        "DAC alone": replace(quiet, adc_bits=0),
        "DAC alone, 5 bits": replace(quiet, adc_bits=0, dac_bits=5),
        "ADC alone": replace(quiet, dac_bits=0),
        "programming alone": bare,
        "programming and 30 days": replace(bare, drift_time=MONTH),
        **{f"c = {scale:g}": replace(base, noise_scale=scale) for scale in SCALES},
    }


def kinds(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """The plan with all units of one kind analog and no others, and with all."""
    able = [unit for unit in plan.units if unit.counted and unit.rule != "unsupported"]
    for kind in (*dict.fromkeys(unit.kind for unit in able), "all"):
        chosen = {unit.id for unit in able if kind in (unit.kind, "all")}
        units = (replace(u, target="analog" if u.id in chosen else "digital") for u in plan.units)
        yield kind, replace(plan, units=tuple(units))


def log_probabilities(model: Any, windows: torch.Tensor) -> torch.Tensor:
    """`[windows, window - 1, vocabulary]` float64."""
    with torch.inference_mode():
        parts = [model(part, use_cache=False).logits[:, :-1].float() for part in windows.split(BATCH)]
    return torch.cat(parts).double().log_softmax(-1)


def mean_text(values: list[float]) -> str:
    """Mean +- standard error."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} +- {error:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--kinds", nargs="*", help="which, of expert, attention, ..., all")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    loaded, plan = plan_model(options.sample / "model.onnx", Placement(digital_frac=0))
    scores, model = load_scores(options.scores), open_model(options.sample)
    windows = torch.from_numpy(token_windows(options.sample / "heldout.npz", 256, options.windows))
    clean = log_probabilities(model, windows)
    following = windows[:, 1:, None]
    print("| analog | device | predicted | divergence | difference of losses | predicted / divergence |")
    print("|---|---|---|---|---|---|")
    for kind, placed in kinds(plan):
        if options.kinds and kind not in options.kinds:
            continue
        analog = [unit for unit in placed.units if unit.target == "analog"]
        for name, profile in profiles(load_profile()).items():
            predicted = predicted_loss(loaded.model, analog, scores, profile)
            divergences, differences = [], []
            for seed in range(options.seeds if profile.noisy else 1):
                with apply_plan(model, replace(placed, profile=profile), seed=seed, store="float32"):
                    noisy = log_probabilities(model, windows)
                change = clean - noisy
                divergences.append(float((clean.exp() * change).sum(-1).mean()))
                differences.append(float(change.gather(-1, following).mean()))
            ratio = predicted / np.mean(divergences)
            measured = f"{mean_text(divergences)} | {mean_text(differences)}"
            print(f"| {kind} | {name} | {predicted:.4f} | {measured} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
