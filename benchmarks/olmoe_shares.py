"""The shares that the paper's Table 2 gives, on a model of OLMoE-1B-7B's shape whose weights take no disk.

    python benchmarks/olmoe_shares.py

Writes a checkpoint as one sparse file (13.8 GB of zeros, nothing on disk), exports it, and prints the shares
for dense modules alone and with 12.5 % and 25 % of the experts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hetc
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import load_profile
from hetc.model.load import load_model

LAYERS, EXPERTS, HIDDEN, INTERMEDIATE, VOCABULARY = 16, 64, 2048, 1024, 50304
PUBLISHED = {"0": 5.37, "0.125": 17.01, "0.25": 28.65}
CONFIG = {
    "architectures": ["OlmoeForCausalLM"],
    "model_type": "olmoe",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 8,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}


def tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the checkpoint's tensors."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for projection in "qkvo":
            yield f"{prefix}.self_attn.{projection}_proj.weight", (HIDDEN, HIDDEN)
        for norm in ("self_attn.q_norm", "self_attn.k_norm", "input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{norm}.weight", (HIDDEN,)
        yield f"{prefix}.mlp.gate.weight", (EXPERTS, HIDDEN)
        for expert in range(EXPERTS):
            for projection in ("gate_proj", "up_proj"):
                yield f"{prefix}.mlp.experts.{expert}.{projection}.weight", (INTERMEDIATE, HIDDEN)
            yield f"{prefix}.mlp.experts.{expert}.down_proj.weight", (HIDDEN, INTERMEDIATE)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def write_checkpoint(folder: Path) -> None:
    """A bfloat16 checkpoint in Hugging Face layout; the weights are a hole in the file."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    header, offset = {}, 0
    for name, shape in tensors():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary, "olmoe")
        checkpoint.mkdir()
        write_checkpoint(checkpoint)
        loaded = load_model(hetc.export(checkpoint, Path(temporary, "onnx"), link=True))
        print("| experts digital | parameters digital | published |\n|---|---|---|")
        for fraction, published in PUBLISHED.items():
            plan = make_plan(loaded, Placement(digital_frac=fraction, score="random"), load_profile())
            digital, _, _ = plan.shares.percent()
            print(f"| {fraction} | {digital:.2f} % of {plan.model_parameters / 1e6:,.2f} M | {published} % |")


if __name__ == "__main__":
    main()
