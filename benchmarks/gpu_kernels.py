"""Time the torch runtime's kernels on a GPU at OLMoE's shapes, and print Markdown tables.

Programming in billions of weights a second; each step of one layer of analog experts; and its products with
other tiles than the usual ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from triton.runtime.errors import OutOfResources
from triton.testing import do_bench

from hetc.hardware.profile import Profile
from hetc.runtimes.reference.settings import Crossbar, crossbar_of
from hetc.runtimes.torch.kernels.dac import convert
from hetc.runtimes.torch.kernels.products import Tiles, analog_product, block_rows
from hetc.runtimes.torch.kernels.rows import combine, sort_rows
from hetc.runtimes.torch.kernels.stack import Part, Stack, program_stack

EXPERTS, CHOSEN, HIDDEN, INTER = 64, 8, 2048, 1024
STORES = ("bfloat16", "int8")
TILES = (128, 128, 8, 3), (128, 128, 8, 4), (128, 64, 4, 3), (64, 128, 4, 3), (64, 64, 4, 4)
"""Rows, columns, warps and stages."""
LOW_TILES = (16, 64, 4, 4), (16, 32, 4, 6), (16, 128, 4, 4)


def milliseconds(function: Callable[[], object]) -> float:
    return float(do_bench(function, warmup=10, rep=60, return_mode="median"))


def programming(weights: torch.Tensor) -> None:
    drifted = replace(Profile(), drift_time=86400.0, drift_compensation="column", flicker_noise=1.0)
    print("\n| programmed | store | ms | G weights/s |\n|---|---|---|---|")
    for label, profile in (("pcm", Profile()), ("pcm, drift and 1/f noise", drifted)):
        for store in (*STORES, "float32"):
            settings = crossbar_of(profile, "noisy", store=store)
            time = milliseconds(partial(stacked, weights, settings))
            print(f"| {label} | {store} | {time:.2f} | {weights.numel() / time / 1e6:.1f} |", flush=True)


def stacked(weights: torch.Tensor, settings: Crossbar) -> Stack:
    part = Part(weights, slice(0, weights.shape[1]), range(len(weights)))
    nothing = [None] * len(weights)
    return program_stack([part], settings).stack(nothing, nothing)


def products(store: str, tokens: int, first: Stack, second: Stack, *, tiles: bool) -> None:
    count = tokens * CHOSEN
    x = torch.randn(tokens, HIDDEN, device="cuda", dtype=torch.bfloat16)
    scores = torch.rand(tokens, EXPERTS, device="cuda")
    weights, chosen = scores.topk(CHOSEN)
    usual = block_rows(count, EXPERTS)
    rows = sort_rows(chosen, EXPERTS, usual)
    h = torch.empty(count, INTER, device="cuda")
    y = torch.empty(count, HIDDEN, device="cuda", dtype=torch.bfloat16)
    codes = convert(x, first, rows, gather=True)
    analog_product(codes, first, rows, out=h, fused=True)
    middle = convert(h, second, rows)
    steps: dict[str, Callable[[], object]] = {
        "sort": lambda: sort_rows(chosen, EXPERTS, usual),
        "DAC": lambda: convert(x, first, rows, gather=True),
        "gate, up": lambda: analog_product(codes, first, rows, out=h, fused=True),
        "DAC of mid": lambda: convert(h, second, rows),
        "down": lambda: analog_product(middle, second, rows, out=y, scatter=True),
        "sum": lambda: combine(y, weights),
    }
    times = {name: milliseconds(step) for name, step in steps.items()}
    work = {"gate, up": 4, "down": 2}
    for name, time in times.items():
        rate = work.get(name, 0) * count * HIDDEN * INTER / time / 1e9
        print(f"| {store} | {tokens} | {name} | {time:.3f} | {f'{rate:.0f}' if rate else ''} |", flush=True)
    print(f"| {store} | {tokens} | together | {sum(times.values()):.3f} | |", flush=True)
    if not tiles:
        return
    depth = 128 // first.code_type.itemsize
    for height, width, warps, stages in TILES if usual > 32 else LOW_TILES:
        cut = Tiles(height, width, depth, warps, stages)
        own = sort_rows(chosen, EXPERTS, height)
        found = [
            attempt(partial(analog_product, codes, first, own, out=h, fused=True, tiles=cut)),
            attempt(partial(analog_product, middle, second, own, out=y, scatter=True, tiles=cut)),
        ]
        label = f"tiles {height} x {width}, {warps} warps, {stages} stages"
        print(f"| {store} | {tokens} | {label} | {' / '.join(found)} | |", flush=True)


def attempt(function: Callable[[], object]) -> str:
    """Its time; the error's name where Triton finds no room for the tiles."""
    try:
        return f"{milliseconds(function):.3f}"
    except OutOfResources as error:
        return type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 512, 32, 1])
    parser.add_argument("--tiles", action="store_true", help="time other tiles as well")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}")
    gate_up = torch.randn(EXPERTS, 2 * INTER, HIDDEN, device="cuda", dtype=torch.bfloat16)
    down = torch.randn(EXPERTS, HIDDEN, INTER, device="cuda", dtype=torch.bfloat16)
    programming(gate_up)
    print("\n| store | tokens | step | ms | TFLOP/s |\n|---|---|---|---|---|")
    for store in STORES:
        settings = crossbar_of(Profile(), "noisy", store=store)
        first, second = stacked(gate_up, settings), stacked(down, settings)
        for tokens in options.tokens:
            products(store, tokens, first, second, tiles=options.tiles and tokens in (4096, 1))


if __name__ == "__main__":
    main()
