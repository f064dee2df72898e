"""Count what DeepSeekMoE-16B with a plan applied takes of a GPU's memory, and print a Markdown table.

Its shape alone is built, on torch's device `meta`, so that no GPU is needed. Weights in bfloat16, everything
but embedding, routers and norms analog, or attention and LM head digital as well, or a share of the experts;
the cache and what a forward takes on its way come on top. With `low_memory`, the peak is while the model is
programmed, layer by layer.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Collection

import torch
from live_plans import live_plan
from random_checkpoint import Deepseek
from torch import nn
from transformers import AutoModelForCausalLM

from hetc.hardware.profile import Profile
from hetc.huggingface.deepseek import DeepseekConfig
from hetc.operators.words import Store
from hetc.plan.plan import Plan
from hetc.plan.words import Kind
from hetc.runtimes.reference.layout import split
from hetc.runtimes.reference.settings import Crossbar, crossbar_of
from hetc.runtimes.torch.kernels.stack import programmed_bytes

SCOPES: dict[str, Collection[Kind]] = {
    "experts": (),
    "everything": ("attention", "lm_head", "shared_expert", "dense_mlp"),
}
STORES: tuple[Store, ...] = ("bfloat16", "int8")


def deepseek_moe() -> nn.Module:
    """DeepSeekMoE-16B without data."""
    config = DeepseekConfig(**Deepseek().config)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return model


def count(model: nn.Module, plan: Plan, settings: Crossbar) -> tuple[int, int, int]:
    """Bytes with all clean weights; with `low_memory` at its peak, and when everything is programmed."""
    kind = torch.bfloat16
    clean, made = defaultdict(int), defaultdict(int)
    for unit in plan.units:
        for matrix in unit.matrices if unit.target == "analog" else ():
            # What the crossbars hold, and the gain and step of each column slice.
            steps = 8 * matrix.outputs * len(split(matrix.inputs, settings.tile_rows))
            made[unit.layer] += programmed_bytes(matrix.inputs, matrix.outputs, settings, kind) + steps
            clean[unit.layer] += matrix.inputs * matrix.outputs * kind.itemsize
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    now = peak = weights
    for layer, crossbars in made.items():
        # The clean weights of a layer, once more where only some of its experts are programmed.
        peak = max(peak, now + crossbars + clean[layer])
        now += crossbars - clean[layer]
    return weights + sum(made.values()), peak, now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digital-fracs", type=float, nargs="+", default=[0, 0.25])
    options = parser.parse_args()
    model = deepseek_moe()
    print("| analog | digital experts | store | GB | low_memory: peak, GB | afterwards, GB |")
    print("|---|---|---|---|---|---|")
    for scope, dense in SCOPES.items():
        for fraction in options.digital_fracs:
            plan = live_plan(model, Profile(), digital_frac=fraction, dense=dense)
            for store in STORES:
                found = count(model, plan, crossbar_of(Profile(), "noisy", store=store))
                figures = " | ".join(f"{size / 1e9:.1f}" for size in found)
                print(f"| {scope} | {fraction:.0%} | {store} | {figures} |")


if __name__ == "__main__":
    main()
