"""Tiny configurations of every model type in transformers that uses its experts interface."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from families import EXPERTS, VOCABULARY
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, model_type_to_module_name
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

__all__ = [
    "ENCODER_DECODERS",
    "IMAGE_TOKEN",
    "OWN_EXPERTS",
    "RECURRENT",
    "REFUSED",
    "WITH_IMAGES",
    "causal_model_types",
    "tiny_config",
]

LAYERS = 4

# Fields of configurations, by the name that families share, and their value in a tiny model. A family has
# few of them; those that it lacks are left out.
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "unpadded_vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "max_position_embeddings": 128,
    "model_max_length": 128,
    "hidden_size": 32,
    "logit_scale": 1.0,
    "logits_mup_width_multiplier": 1.0,
    "hidden_size_per_layer_input": 8,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "head_dim": 8,
    "swa_head_dim": 8,
    "sliding_window": 4,
    "sliding_window_size": 4,
    # Latent attention.
    "q_lora_rank": 12,
    "kv_lora_rank": 8,
    "o_lora_rank": 8,
    "o_groups": 2,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 12,
    "v_head_dim": 8,
    # Sparse attention, with fewer choices than the test has tokens.
    "index_head_dim": 8,
    "index_n_heads": 8,
    "index_topk": 4,
    # Linear attention and state spaces.
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "mamba_d_state": 8,
    "mamba_dt_rank": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_chunk_size": 4,
    "ssm_state_size": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "n_groups": 2,
    "chunk_size": 4,
    # MLPs and experts.
    "intermediate_size": 48,
    "dense_intermediate_size": 48,
    "intermediate_size_mlp": 48,
    "moe_intermediate_size": 16,
    "shared_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "shared_experts_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 24,
    "num_experts": EXPERTS,
    "n_routed_experts": EXPERTS,
    "num_local_experts": EXPERTS,
    "moe_num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "top_k_experts": 2,
    "n_group": 4,
    "num_expert_group": 4,
    "topk_group": 2,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "moe_num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "num_nextn_predict_layers": 0,
    "router_hidden_size": 8,
}


def causal_model_types() -> Iterator[str]:
    """Model types whose code uses the experts interface and that have a causal language model.

    Models of text and images are left out: their text model is a model type of its own.
    """
    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if "use_experts_implementation" not in _source(model_type):
            continue
        if "text_config" not in CONFIG_MAPPING[model_type].sub_configs:
            yield model_type


def _source(model_type: str) -> str:
    """The code of a model type's models, read where it can be: importing all of them takes many seconds."""
    module = model_type_to_module_name(model_type)
    file = Path(transformers.__path__[0], "models", module, f"modeling_{module}.py")
    if file.is_file():
        return file.read_text("utf-8")
    if model_type not in CONFIG_MAPPING:
        return ""
    model = AutoModelForCausalLM._model_mapping[CONFIG_MAPPING[model_type]]
    return inspect.getsource(sys.modules[model.__module__])


# What the names alone don't tell.
OVERRIDES: dict[str, dict[str, Any]] = {
    "jamba": {"attn_layer_period": 4, "attn_layer_offset": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "zaya": {"num_experts_per_tok": 1},
    "dots1": {"n_routed_experts": EXPERTS, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "hunyuan_v1_moe": {"head_dim": 8},
    "deepseek_v2": {"n_group": 4, "topk_group": 2, "num_experts_per_tok": 2},
    "gemma4_text": {
        "enable_moe_block": True,
        "num_experts": EXPERTS,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
    },
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    # Chunks of 64 tokens and single ones round differently; few layers amplify that little.
    "qwen3_5_moe_text": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]},
    "bailing_hybrid": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]},
    "kimi_linear": {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]},
    "deepseek_v4": {
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "partial_rotary_factor": 0.5,
        "layer_types": [
            "sliding_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
        ],
        "compress_rates": {"heavily_compressed_attention": 5, "compressed_sparse_attention": 2},
        "mlp_layer_types": ["hash_moe", "moe", "moe"],
        "hc_mult": 2,
        "hc_sinkhorn_iters": 2,
        # Fewer would be a choice among scores of 0, which rounding decides.
        "index_topk": 12,
    },
    "qwen4_exp_text": {
        "num_hidden_layers": 2,
        "layer_types": ["linear_attention", "indexed_attention"],
        "hc_count": 2,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 128,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 2.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": EXPERTS, "moe_top_k": 2},
    },
    # The first layer is dense and sees its chunk, the second has experts and no rotary embedding.
    "llama4_text": {
        "num_hidden_layers": 2,
        "interleave_moe_layer_step": 2,
        "no_rope_layer_interval": 2,
        "attention_chunk_size": 4,
        "floor_scale": 4,
    },
    "qwen3_vl_moe_text": {
        "num_hidden_layers": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
    },
    # Experts of fewer tokens than the test has: some are dropped.
    "switch_transformers": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "num_heads": 4,
        "expert_capacity": 3,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16,
        "eos_token_id": 1,
    },
    "nllb-moe": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 40,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
        "moe_token_dropout": 0.2,
    },
}

IMAGE_TOKEN = 90

# Model types of text and images -> what their configuration has besides that of the text.
WITH_IMAGES: dict[str, dict[str, Any]] = {
    "llama4": {
        "image_token_index": IMAGE_TOKEN,
        "vision_config": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": 16,
            "patch_size": 4,
            "vision_output_dim": 24,
            "projector_input_dim": 24,
            "projector_output_dim": 24,
            "pixel_shuffle_ratio": 0.5,
        },
    },
    "qwen3_vl_moe": {
        "image_token_id": IMAGE_TOKEN,
        "video_token_id": 91,
        "vision_start_token_id": 92,
        "vision_end_token_id": 93,
        "vision_config": {
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
    },
}

ENCODER_DECODERS = ("nllb-moe", "switch_transformers")

# Model types outside the experts interface that `export` knows.
OWN_EXPERTS = ("dbrx", "jetmoe", "llama4_text")

# Model types whose loop over tokens or chunks is another function in a graph: tested at more lengths.
RECURRENT = (
    "bailing_hybrid",
    "deepseek_v4",
    "granitemoehybrid",
    "jamba",
    "kimi_linear",
    "minimax",
    "nemotron_h",
    "qwen3_next",
)

# Model types that `export` refuses, and part of the reason that it gives.
REFUSED = {
    "qwen4_exp_text": "nonzero",
}


def tiny_config(model_type: str, **changes: Any) -> PretrainedConfig:
    """A configuration of a few thousand parameters."""
    build = CONFIG_MAPPING[model_type]
    default = build()
    text = default.get_text_config()
    present = vars(text)
    fields = {name: value for name, value in SMALL.items() if present.get(name) is not None}
    if "kv_lora_rank" in fields:
        # Latent attention has as many keys as queries, and derives the width of a head.
        fields["num_key_value_heads"] = SMALL["num_attention_heads"]
        fields.pop("head_dim", None)
    fields.update(OVERRIDES.get(text.model_type, {}))
    fields.update(changes)
    if text is default:
        return build(**fields)
    return build(text_config=type(text)(**fields).to_dict(), **WITH_IMAGES.get(model_type, {}))
