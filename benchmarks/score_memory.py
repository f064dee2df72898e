"""Peak memory of `hetc score` beside the weights, at DeepSeekMoE-16B's widths.

    python benchmarks/score_memory.py --device cuda
    python benchmarks/score_memory.py --layers 2 --experts 8

On a GPU it is what torch's allocator says. On a CPU the bytes of all live tensors are counted, and large
matrix products give zeros, as they take hours and no memory of their own. What a further layer or expert adds
beside its weights is there all the time: from a few small runs follows what the whole model takes.
"""

from __future__ import annotations

import argparse
import time
import weakref
from typing import Any

import numpy as np
import torch
from random_checkpoint import Deepseek
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from hetc.hardware.profile import DEFAULT_PROFILE, load_profile
from hetc.huggingface.deepseek import DeepseekConfig
from hetc.huggingface.experts import experts_modules
from hetc.huggingface.live.sensitivity import measure_model

LARGE = 1 << 29
"""Multiplications of a product that isn't calculated; a router's is smaller, as its experts must differ."""
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that were made within the context and still live.

    Attributes:
        now, peak: Bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator and notes what it made."""
        left, right = args[-2:] if func in PRODUCTS else (None, None)
        if left is not None and left.numel() * right.shape[1] > LARGE:
            found = left.new_zeros(len(left), right.shape[1])
        else:
            found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage(), args)
        return found

    def _note(self, storage: Any, args: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        given = {one.untyped_storage()._cdata for one in tree_leaves(args) if isinstance(one, torch.Tensor)}
        if key in self._live or key in given:
            return
        self._live.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._live.discard(key)
        self.now -= size


def random_model(layers: int, experts: int, vocabulary: int, device: str) -> Any:
    """DeepSeekMoE in bfloat16, the first of its layers dense."""
    config = DeepseekConfig(**Deepseek(layers=layers, experts=experts, vocabulary=vocabulary).config)
    load: Any = AutoModelForCausalLM.from_config
    with torch.device(device):
        model = load(config, dtype=torch.bfloat16).eval()
    for _, module in experts_modules(model):
        for stack in module.parameters():
            stack.data.normal_(std=0.02)
    return model


def peak_bytes(model: Any, tokens: np.ndarray) -> int:
    """The peak beside the weights."""
    profile = load_profile(DEFAULT_PROFILE)
    if model.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        measure_model(model, "random", tokens, profile)
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as live:
        measure_model(model, "random", tokens, profile)
    return live.peak


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=102400)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model = random_model(options.layers, options.experts, options.vocabulary, options.device)
    tokens = np.random.default_rng(0).integers(0, options.vocabulary, (options.windows, options.window))
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    start = time.monotonic()
    peak = peak_bytes(model, tokens)
    print(
        f"{options.layers} layers, {options.experts} experts, vocabulary {options.vocabulary}: weights "
        f"{weights / 1e9:.3f} GB, peak beside them {peak / 1e9:.3f} GB, {time.monotonic() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
