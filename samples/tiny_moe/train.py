"""Train the samples: small language models of Python source code, of OLMoE's or DeepSeek-V2's architecture.

The text is the source of the standard library that runs this script, so nothing is downloaded; for larger
sizes that of the installed packages as well. One module in twenty-five is held out by a hash of its path;
`heldout.npz` keeps the first tokens of those, `calibration.npz` the first that were trained on. The result is
an ordinary Hugging Face checkpoint in float16:

    python samples/tiny_moe/train.py --minutes 45 -o /tmp/tiny_moe 2>&1 | tee samples/tiny_moe/train.log
    hetc export /tmp/tiny_moe -o samples/tiny_moe

The second sample, samples/tiny_deepseek, adds `--architecture deepseek` (shared expert, dense first layer,
latent attention). `--size middle` is for a GPU; `make middle` trains and measures it.
"""

import argparse
import hashlib
import json
import math
import sys
import sysconfig
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils import parametrize
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

SEED = 20260303
HELDOUT_TOKENS = 32_768
BALANCE = 0.01  # weight of the loss that keeps the experts' loads even
# Character tables and prose dumps are not code that a model can learn from; tests are not part of
# every installation.
LEFT_OUT = {"encodings", "pydoc_data", "test", "tests", "idle_test", "site-packages", "__pycache__"}


@dataclass(frozen=True)
class Size:
    """A model of OLMoE's architecture and how it is trained.

    Attributes:
        packages: Whether the installed packages are read besides the standard library.
        text: Characters to train on, at most: tokenizing 160 million takes a minute.
        minutes, batch, rate: What the options of that name are by default.
    """

    layers: int
    experts: int
    top_k: int
    hidden: int
    inter: int
    heads: int
    vocabulary: int
    context: int
    packages: bool
    text: int
    minutes: float
    batch: int
    rate: float


SIZES = {
    "toy": Size(2, 4, 2, 32, 16, 2, 512, 32, False, 500_000, 0.1, 4, 3e-3),
    "small": Size(4, 16, 4, 192, 128, 6, 1024, 256, False, 10**9, 45.0, 16, 3e-3),  # 5.7 M parameters
    "middle": Size(
        8, 64, 8, 512, 256, 8, 2048, 512, True, 160_000_000, 3.0, 64, 1.5e-3
    ),  # 212 M, 45 M tokens on an H100
}
LONGEST_MODULE = 200_000
"""Characters of a package's module; longer ones are tables that programs have written."""
TOKENIZER_TEXT = 30_000_000
"""Characters that the tokenizer learns from, at most."""


def read_sources(size: Size) -> tuple[list[str], list[str]]:
    """The standard library's modules, and the packages', as (training, held-out) texts in path order."""
    roots = [Path(sysconfig.get_paths()["stdlib"])]
    if size.packages:
        roots += sorted({Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")})
    training, heldout = [], []
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            relative = path.relative_to(root)
            if LEFT_OUT.intersection(relative.parts):
                continue
            text = path.read_text(encoding="utf-8", errors="ignore")
            if root != roots[0] and len(text) > LONGEST_MODULE:
                continue
            digest = hashlib.sha256(relative.as_posix().encode()).digest()
            (heldout if digest[0] < 10 else training).append(text)
    return thinned(training, size.text), thinned(heldout, size.text)


def thinned(texts: list[str], most: int) -> list[str]:
    """Every n-th text, such that about `most` characters are left at most."""
    return texts[:: 1 + sum(map(len, texts)) // most]


def train_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with so many entries; `<|end|>` (0) separates modules."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(thinned(texts, TOKENIZER_TEXT), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>")


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """All texts as one stream of token ids, uint16, each module led by `<|end|>`."""
    parts = (texts[start : start + 256] for start in range(0, len(texts), 256))
    encoded = (one for part in parts for one in tokenizer.backend_tokenizer.encode_batch(part))
    return np.concatenate([np.array([0, *one.ids], dtype=np.uint16) for one in encoded])


def make_olmoe(size: Size) -> PreTrainedModel:
    """OLMoE's architecture."""
    config = OlmoeConfig(
        hidden_size=size.hidden,
        intermediate_size=size.inter,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        num_experts=size.experts,
        router_aux_loss_coef=0.0,  # `BALANCE` is added for both architectures
        **common(size),
    )
    return OlmoeForCausalLM(config)


def make_deepseek(size: Size) -> PreTrainedModel:
    """5.8 M parameters: latent attention; a dense layer, then 4 of 16 experts, top 4, and a shared one."""
    config = DeepseekV2Config(
        hidden_size=size.hidden,
        intermediate_size=512,
        moe_intermediate_size=112,
        num_hidden_layers=5,
        first_k_dense_replace=1,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        q_lora_rank=None,
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        n_routed_experts=size.experts,
        n_shared_experts=1,
        **common(size),
    )
    return DeepseekV2ForCausalLM(config)


def common(size: Size) -> dict[str, int]:
    """What configurations of both architectures say."""
    return {
        "vocab_size": size.vocabulary,
        "num_experts_per_tok": size.top_k,
        "max_position_embeddings": 1024,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }


ARCHITECTURES = {"olmoe": make_olmoe, "deepseek": make_deepseek}


class InBfloat16(torch.nn.Module):
    """Autocast leaves the grouped products of experts alone, so that their weights are cast here."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(torch.bfloat16)


def cast_experts(model: PreTrainedModel, cast: bool) -> None:
    """Lets experts see their weights as bfloat16, or as they are again; what is trained stays float32."""
    for module in model.modules():
        for name in ("gate_up_proj", "down_proj"):
            if cast and isinstance(module._parameters.get(name), torch.Tensor):
                parametrize.register_parametrization(module, name, InBfloat16(), unsafe=True)
            elif not cast and parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name, leave_parametrized=False)


def in_bfloat16(device: str, narrow: bool) -> AbstractContextManager[object]:
    """Products in bfloat16 within the context, or as they are."""
    return torch.autocast(torch.device(device).type, torch.bfloat16) if narrow else nullcontext()


def evaluate(model: PreTrainedModel, tokens: np.ndarray, context: int) -> tuple[float, float]:
    """Mean loss in nats and next-token accuracy over teacher-forced windows of `context` tokens."""
    model.eval()
    windows = torch.from_numpy(tokens[: len(tokens) // context * context].astype(np.int64))
    losses, right = [], []
    with torch.no_grad():
        for batch in windows.reshape(-1, context).split(32):
            logits = model(batch.to(model.device)).logits[:, :-1].float().cpu()
            target = batch[:, 1:]
            losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()))
            right.append((logits.argmax(-1) == target).float().mean())
    model.train()
    return float(torch.stack(losses).mean()), float(torch.stack(right).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="olmoe")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--minutes", type=float, help="Of training; the size's by default.")
    parser.add_argument("--steps", type=int, help="Train for so many steps instead.")
    parser.add_argument("--batch", type=int, help="Windows of a step; the size's by default.")
    parser.add_argument("--rate", type=float, help="Largest learning rate; the size's by default.")
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, help="On a GPU by default.")
    options = parser.parse_args()
    if options.architecture != "olmoe" and options.size != "small":
        parser.error(f"--architecture {options.architecture} has one size, small")
    size = SIZES[options.size]
    on_gpu = options.device.startswith("cuda")
    narrow = on_gpu if options.bfloat16 is None else options.bfloat16
    minutes, rate = options.minutes or size.minutes, options.rate or size.rate
    windows = options.batch or size.batch

    torch.manual_seed(SEED)
    training, heldout = read_sources(size)
    tokenizer = train_tokenizer(training, size.vocabulary)
    stream = torch.from_numpy(tokenize(tokenizer, training).astype(np.int64)).to(options.device)
    unseen = tokenize(tokenizer, heldout)[:HELDOUT_TOKENS]
    model = ARCHITECTURES[options.architecture](size).to(options.device)
    model.set_experts_implementation(options.experts)
    print(
        f"python {sys.version.split()[0]}, torch {torch.__version__}, {options.device}, seed {SEED}, "
        f"{torch.get_num_threads()} threads; {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{len(training)} modules, {len(stream):,} tokens; held out {len(heldout)} modules",
        flush=True,
    )

    if narrow:
        cast_experts(model, True)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.95),
        fused=on_gpu,
    )
    window = torch.arange(size.context)
    generator = torch.Generator().manual_seed(SEED)
    start = time.monotonic()
    step, done = 0, 0.0
    while done < 1.0:
        # The schedule follows the clock, so that `--minutes` means the same on any machine.
        passed = (time.monotonic() - start) / (60 * minutes)
        done = (step + 1) / options.steps if options.steps else passed
        factor = min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        offsets = torch.randint(len(stream) - size.context, (windows,), generator=generator)
        batch = stream[(offsets[:, None] + window).to(options.device)]
        with in_bfloat16(options.device, narrow):
            result = model(batch, labels=batch, output_router_logits=True)
            balance = load_balancing_loss_func(result.router_logits, size.experts, size.top_k)
            loss = result.loss + BALANCE * balance
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 250 == 0:
            with in_bfloat16(options.device, narrow):
                nats, accuracy = evaluate(model, unseen[: 32 * size.context], size.context)
            print(
                f"step {step} {time.monotonic() - start:.0f} s training {loss.item():.3f} "
                f"held out {nats:.3f} nats {accuracy:.2%}",
                flush=True,
            )

    cast_experts(model, False)
    model.half().float()  # what is saved is what is evaluated
    if on_gpu:
        model.set_experts_implementation("eager")  # grouped products there are for bfloat16
    nats, accuracy = evaluate(model, unseen, size.context)
    print(
        f"done: {step} steps, held out {nats:.4f} nats, accuracy {accuracy:.2%} over {len(unseen):,} tokens"
    )
    options.output.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    np.savez_compressed(options.output / "heldout.npz", tokens=unseen)
    np.savez_compressed(options.output / "calibration.npz", tokens=stream[:HELDOUT_TOKENS].cpu().numpy())
    measured = {"steps": step, "heldout_nats": nats, "heldout_accuracy": accuracy, "seed": SEED}
    (options.output / "training.json").write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
