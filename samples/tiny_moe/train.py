"""Train the samples: small language models of Python source code, of OLMoE's or DeepSeek-V2's architecture.

The text is the source of the standard library that runs this script, so nothing is downloaded. One
module in twenty-five is held out by a hash of its path; `heldout.npz` keeps the first tokens of
those, `calibration.npz` the first that were trained on. The result is an ordinary Hugging Face checkpoint
in float16:

    python samples/tiny_moe/train.py --minutes 45 -o /tmp/tiny_moe 2>&1 | tee samples/tiny_moe/train.log
    hetc export /tmp/tiny_moe -o samples/tiny_moe

The second sample, samples/tiny_deepseek, adds `--architecture deepseek` (shared expert, dense first layer,
latent attention).
"""

import argparse
import hashlib
import json
import math
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
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
VOCABULARY = 1024
CONTEXT = 256
HELDOUT_TOKENS = 32_768
TOP_K = 4
BALANCE = 0.01  # weight of the loss that keeps the experts' loads even
# Character tables and prose dumps are not code that a model can learn from; tests are not part of
# every installation.
LEFT_OUT = {"encodings", "pydoc_data", "test", "tests", "idle_test", "site-packages", "__pycache__"}


def read_library() -> tuple[list[str], list[str]]:
    """The standard library's modules as (training texts, held-out texts), in path order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    training, heldout = [], []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if LEFT_OUT.intersection(relative.parts):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        digest = hashlib.sha256(relative.as_posix().encode()).digest()
        (heldout if digest[0] < 10 else training).append(text)
    return training, heldout


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with `VOCABULARY` entries; `<|end|>` (0) separates modules."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>")


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """All texts as one stream of token ids, uint16, each module led by `<|end|>`."""
    encoded = tokenizer.backend_tokenizer.encode_batch(texts)
    return np.concatenate([np.array([0, *one.ids], dtype=np.uint16) for one in encoded])


def make_olmoe() -> PreTrainedModel:
    """5.7 M parameters: 4 layers, 16 experts, top 4."""
    config = OlmoeConfig(
        hidden_size=192,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        num_experts=16,
        router_aux_loss_coef=0.0,  # `BALANCE` is added for both architectures
        num_experts_per_tok=TOP_K,
        **COMMON,
    )
    return OlmoeForCausalLM(config)


def make_deepseek() -> PreTrainedModel:
    """5.8 M parameters: latent attention; a dense layer, then 4 of 16 experts, top 4, and a shared one."""
    config = DeepseekV2Config(
        hidden_size=192,
        intermediate_size=512,
        moe_intermediate_size=112,
        num_hidden_layers=5,
        first_k_dense_replace=1,
        num_attention_heads=6,
        num_key_value_heads=6,
        q_lora_rank=None,
        kv_lora_rank=64,
        qk_nope_head_dim=32,
        qk_rope_head_dim=16,
        v_head_dim=32,
        n_routed_experts=16,
        n_shared_experts=1,
        num_experts_per_tok=TOP_K,
        **COMMON,
    )
    return DeepseekV2ForCausalLM(config)


COMMON = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
ARCHITECTURES = {"olmoe": make_olmoe, "deepseek": make_deepseek}


def evaluate(model: PreTrainedModel, tokens: np.ndarray) -> tuple[float, float]:
    """Mean loss in nats and next-token accuracy over teacher-forced windows of `CONTEXT` tokens."""
    model.eval()
    windows = torch.from_numpy(tokens[: len(tokens) // CONTEXT * CONTEXT].astype(np.int64))
    losses, right = [], []
    with torch.no_grad():
        for batch in windows.reshape(-1, CONTEXT).split(32):
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
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(SEED)
    training, heldout = read_library()
    tokenizer = train_tokenizer(training)
    stream = torch.from_numpy(tokenize(tokenizer, training).astype(np.int64))
    unseen = tokenize(tokenizer, heldout)[:HELDOUT_TOKENS]
    model = ARCHITECTURES[options.architecture]().to(options.device)
    model.set_experts_implementation(options.experts)
    print(
        f"python {sys.version.split()[0]}, torch {torch.__version__}, {options.device}, seed {SEED}, "
        f"{torch.get_num_threads()} threads; {sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{len(training)} modules, {len(stream):,} tokens; held out {len(heldout)} modules",
        flush=True,
    )

    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=options.rate,
        betas=(0.9, 0.95),
    )
    generator = torch.Generator().manual_seed(SEED)
    start = time.monotonic()
    step, done = 0, 0.0
    while done < 1.0:
        # The schedule follows the clock, so that `--minutes` means the same on any machine.
        done = (time.monotonic() - start) / (60 * options.minutes)
        rate = min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate
        offsets = torch.randint(len(stream) - CONTEXT, (options.batch,), generator=generator)
        batch = torch.stack([stream[o : o + CONTEXT] for o in offsets]).to(options.device)
        with torch.autocast(options.device, torch.bfloat16, enabled=options.device == "cuda"):
            result = model(batch, labels=batch, output_router_logits=True)
            balance = load_balancing_loss_func(result.router_logits, model.config.num_experts, TOP_K)
            loss = result.loss + BALANCE * balance
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 250 == 0:
            nats, accuracy = evaluate(model, unseen[: 32 * CONTEXT])
            print(
                f"step {step} {time.monotonic() - start:.0f} s training {loss.item():.3f} "
                f"held out {nats:.3f} nats {accuracy:.2%}",
                flush=True,
            )

    model.half().float()  # what is saved is what is evaluated
    nats, accuracy = evaluate(model, unseen)
    print(
        f"done: {step} steps, held out {nats:.4f} nats, accuracy {accuracy:.2%} over {len(unseen):,} tokens"
    )
    options.output.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    np.savez_compressed(options.output / "heldout.npz", tokens=unseen)
    np.savez_compressed(options.output / "calibration.npz", tokens=stream[:HELDOUT_TOKENS].numpy())
    measured = {"steps": step, "heldout_nats": nats, "heldout_accuracy": accuracy, "seed": SEED}
    (options.output / "training.json").write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
