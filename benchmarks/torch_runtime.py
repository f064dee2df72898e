"""Time a transformers model with a plan applied against the same model as it is, and print a Markdown table.

An OLMoE with random weights made on the device, mode `noisy`, after programming. On a GPU, `--layers 16` is
the 7-billion-parameter model's shape. Windows are measured with losses; a step of decoding is one token a
row after a cache of 512.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from live_plans import live_plan
from timing import machine, medians
from transformers import AutoModelForCausalLM, OlmoeConfig

from hetc.hardware.profile import Profile
from hetc.huggingface.cache import cache_argument, empty_cache
from hetc.huggingface.live.apply import apply_plan
from hetc.huggingface.live.forward import model_predict
from hetc.huggingface.live.programmings import Programmings

VOCABULARY, HEADS = 50304, 16
SCOPES = {"experts": (), "experts, attention, head": ("attention", "lm_head")}


def model_on(device: str, options: argparse.Namespace) -> torch.nn.Module:
    """The model with random weights."""
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=options.inter,
        num_hidden_layers=options.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        num_experts=options.experts,
        num_experts_per_tok=8,
    )
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


def decode(model: torch.nn.Module, rows: int, context: int, device: str) -> Callable[[], None]:
    """One token in each of the rows, after `context` tokens in the cache."""
    ids = torch.arange(rows, device=device)[:, None]
    config, cache = model.config, empty_cache(model.config)
    past = torch.randn(
        rows,
        config.num_key_value_heads,
        context,
        config.hidden_size // config.num_attention_heads,
        dtype=model.dtype,
        device=device,
    )
    for layer in range(config.num_hidden_layers):
        cache.update(past, past, layer)

    def step() -> None:
        with torch.inference_mode():
            model(ids, **{cache_argument(model): cache}, use_cache=True)
        cache.crop(-1)
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--inter", type=int, default=1024)
    parser.add_argument("--digital-fracs", nargs="+", default=["0", "0.25"])
    parser.add_argument("--neurons", action="store_true", help="single neurons are digital, not experts")
    parser.add_argument("--stores", nargs="+", default=["bfloat16", "int8"])
    parser.add_argument("--windows", type=int, nargs="*", default=[1, 8], help="of 512 tokens, at a time")
    parser.add_argument("--decode", type=int, nargs="*", default=[1, 32], help="rows of one token")
    parser.add_argument("--context", type=int, default=512, help="tokens in the cache that precede it")
    parser.add_argument("--profile", action="store_true", help="print what takes the time of 8 windows")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plain = model_on(options.device, options)
    analog = copy.deepcopy(plain)
    name = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    print(f"\n{name}; {options.threads} threads; {plain.dtype}, {options.layers} layers\n")
    print("| analog | store | digital | step | plain, ms | plan applied, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    programmings = Programmings()
    for scope, dense in SCOPES.items():
        plan = live_plan(analog, Profile(), dense=dense, heads=HEADS if options.neurons else 0)
        for store in options.stores:
            for fraction in options.digital_fracs:
                choices = {"store": store, "digital_frac": fraction, "programmings": programmings}
                with apply_plan(analog, plan, **choices):
                    for step, functions in steps(plain, analog, options).items():
                        times = medians(functions)
                        ratio = times["analog"] / times["plain"]
                        cells = f"{times['plain'] * 1e3:.2f} | {times['analog'] * 1e3:.2f} | {ratio:.2f}"
                        share = f"{float(fraction):.0%} of {'neurons' if options.neurons else 'experts'}"
                        print(f"| {scope} | {store} | {share} | {step} | {cells} |", flush=True)
                    if options.profile and fraction == options.digital_fracs[0]:
                        print_profile(steps(plain, analog, options))


def steps(
    plain: torch.nn.Module, analog: torch.nn.Module, options: argparse.Namespace
) -> dict[str, dict[str, Callable[[], object]]]:
    """What is timed, on either model."""
    models = {"plain": plain, "analog": analog}
    found: dict[str, dict[str, Callable[[], object]]] = {}
    for windows in options.windows:
        tokens = np.random.default_rng(0).integers(0, VOCABULARY, (windows, 512))
        label = f"{512 * windows} tokens, losses"
        found[label] = {name: partial(model_predict(model), tokens) for name, model in models.items()}
    for rows in options.decode:
        label = f"decode {rows}, {options.context} tokens before"
        found[label] = {
            name: decode(model, rows, options.context, options.device) for name, model in models.items()
        }
    return found


def print_profile(functions: dict[str, dict[str, Callable[[], object]]]) -> None:
    """The kernels of the first step and the last, by the time they take."""
    from torch.profiler import ProfilerActivity, profile

    for step in (list(functions)[len(functions) // 2 - 1], list(functions)[-1]):
        for name, function in functions[step].items():
            with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
                function()
            print(f"\n{step}, {name}")
            kernels = sorted(found.key_averages(), key=lambda one: -one.self_device_time_total)
            for one in kernels[:14]:
                print(f"  {one.self_device_time_total / 1e3:8.3f} ms {one.count:5d}  {one.key[:90]}")


if __name__ == "__main__":
    main()
