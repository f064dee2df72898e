"""Tiny configurations with random weights, one for each family that `export` promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV3Config,
    MixtralConfig,
    OlmoeConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

VOCABULARY = 101
EXPERTS = 8

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LATENT: dict[str, Any] = {
    **COMMON,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
SMALL_EXPERTS: dict[str, Any] = {**COMMON, "intermediate_size": 48, "moe_intermediate_size": 16}


def olmoe(**changes: Any) -> PretrainedConfig:
    return OlmoeConfig(**{**COMMON, "intermediate_size": 16, "num_experts": EXPERTS, **changes})


def deepseek_v2() -> PretrainedConfig:
    return DeepseekV2Config(
        **LATENT, q_lora_rank=None, topk_method="group_limited_greedy", n_group=4, topk_group=2
    )


def deepseek_v3() -> PretrainedConfig:
    return DeepseekV3Config(**LATENT, q_lora_rank=12, n_group=4, topk_group=2)


def qwen2_moe() -> PretrainedConfig:
    return Qwen2MoeConfig(**SMALL_EXPERTS, num_experts=EXPERTS, shared_expert_intermediate_size=24)


def qwen3_moe() -> PretrainedConfig:
    """One dense and one MoE layer, and a tied LM head."""
    return Qwen3MoeConfig(
        **SMALL_EXPERTS, num_experts=EXPERTS, head_dim=8, mlp_only_layers=[0], tie_word_embeddings=True
    )


def mixtral() -> PretrainedConfig:
    """With a sliding window shorter than the test's sequence."""
    return MixtralConfig(**COMMON, intermediate_size=16, num_local_experts=EXPERTS, sliding_window=4)


# Configuration, and its number of MoE layers.
FAMILIES = {
    "olmoe": (olmoe, 2),
    "deepseek_v2": (deepseek_v2, 1),
    "deepseek_v3": (deepseek_v3, 1),
    "qwen2_moe": (qwen2_moe, 2),
    "qwen3_moe": (qwen3_moe, 1),
    "mixtral": (mixtral, 2),
}


def save_random_model(
    config: PretrainedConfig,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    auto_class: Any = AutoModelForCausalLM,
) -> PreTrainedModel:
    """Save a model with random weights, large enough that no layer is negligible; load it back in float32."""
    torch.manual_seed(0)
    model = auto_class.from_config(config).eval()
    for name, tensor in model.state_dict().items():
        # MiniMax's decays follow from one another.
        if name.endswith("tid2eid"):  # the experts that DeepSeek-V4 gives to each token of the vocabulary
            tensor.random_(EXPERTS)
        if not tensor.is_floating_point() or name.endswith(("_decay", "slope_rate")):
            continue
        if tensor.dim() > 1:
            tensor.normal_(std=0.15)
        else:
            tensor.normal_(mean=0.0 if "bias" in name else 1.0, std=0.1)
    model.to(dtype).save_pretrained(folder)
    return auto_class.from_pretrained(folder, dtype=torch.float32).eval()
