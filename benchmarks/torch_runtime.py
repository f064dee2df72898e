"""Time a transformers model with a plan applied against the same model as it is, and print a Markdown table.

An OLMoE with random weights, mode `noisy`, after programming. On a GPU, `--layers 16` and the defaults are
the 7-billion-parameter model's shape.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import machine, medians
from transformers import AutoModelForCausalLM, OlmoeConfig

from hetc.compiler.loading import load_moe_model
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.huggingface.export.export import export
from hetc.huggingface.live.apply import apply_plan
from hetc.huggingface.live.forward import model_predict

VOCABULARY = 50304


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--inter", type=int, default=1024)
    parser.add_argument("--digital-fracs", nargs="+", default=["0", "0.25"])
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 8], help="of 512 tokens, at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=options.inter,
        num_hidden_layers=options.layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_experts=options.experts,
        num_experts_per_tok=8,
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint")
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(checkpoint)
        graph = export(checkpoint, Path(folder, "exported"), link=True)
        plan = make_plan(load_moe_model(graph), Placement(digital_frac="0"), Profile())
        load = partial(AutoModelForCausalLM.from_pretrained, checkpoint, dtype=dtype)
        plain, analog = (load().to(options.device).eval() for _ in range(2))
    device = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    print(f"{device}; {options.threads} threads; {dtype}, {options.layers} layers\n")
    print("| digital | windows of 512 | plain, s | plan applied, s | ratio |\n|---|---|---|---|---|")
    for fraction in options.digital_fracs:
        with apply_plan(analog, plan, digital_frac=fraction):
            for windows in options.windows:
                tokens = np.random.default_rng(0).integers(0, VOCABULARY, (windows, 512))
                measured = {
                    name: partial(model_predict(model), tokens)
                    for name, model in (("plain", plain), ("analog", analog))
                }
                times = medians(measured)
                cells = (
                    f"{times['plain']:.3f} | {times['analog']:.3f} | {times['analog'] / times['plain']:.2f}"
                )
                print(f"| {float(fraction):.1%} | {windows} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
