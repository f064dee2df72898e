"""Small live transformers models with random weights."""

from __future__ import annotations

from typing import Any

import torch
import transformers

__all__ = ["DEVICE", "FAMILIES", "tiny_model"]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = {"olmoe": {"num_experts": 4}, "gpt_oss": {"num_local_experts": 4, "head_dim": 8}}


def tiny_model(family: str, **changes: Any) -> Any:
    """A model of one layer with four experts, two to a token, on `DEVICE`."""
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=53,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts_per_tok=2,
        pad_token_id=0,
        eos_token_id=2,
        **FAMILIES[family],
        **changes,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().to(DEVICE)
    for parameter in model.parameters():
        parameter.data.normal_(mean=float(parameter.dim() == 1), std=0.15)
    return model
