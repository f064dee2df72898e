"""DeepSeekMoE (`model_type: deepseek`), which transformers lacks: Llama with DeepSeek's MoE layers in it.

Its checkpoints bring Python code of their own. That code is not run; this module knows the architecture (Dai
et al., arXiv 2401.06066): softmax routing to the best experts, shared experts, dense first layers.
Importing it registers the family with transformers' Auto classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaModel, LlamaPreTrainedModel
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeExperts

from hetc.base.errors import InvalidInputError

__all__ = ["DeepseekConfig", "DeepseekForCausalLM"]


class DeepseekConfig(LlamaConfig):  # type: ignore[no-untyped-call]
    """Llama's fields, and those of the MoE layers under the names of the checkpoint's config.json."""

    model_type = "deepseek"
    attribute_map: ClassVar[dict[str, str]] = {"num_experts": "n_routed_experts"}

    moe_intermediate_size: int = 1407
    n_routed_experts: int = 64
    n_shared_experts: int | None = None
    num_experts_per_tok: int = 6
    norm_topk_prob: bool = False
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    scoring_func: str = "softmax"


class DeepseekMoe(nn.Module):
    """Routed experts, each token's best by softmax, and shared experts for every token."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.config = config
        self.experts = Qwen2MoeExperts(config)  # type: ignore[no-untyped-call]
        self.gate = nn.Linear(config.hidden_size, config.n_routed_experts, bias=False)
        self.shared_experts: nn.Module | None = None
        if config.n_shared_experts:
            shared = _shared(config, config.n_shared_experts)
            self.shared_experts = LlamaMLP(shared)  # type: ignore[no-untyped-call]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, H]` -> the same."""
        tokens = hidden.flatten(0, 1)
        scores = self.gate(tokens).softmax(dim=-1, dtype=torch.float32)
        weights, index = scores.topk(self.config.num_experts_per_tok, dim=-1)
        if self.config.norm_topk_prob and self.config.num_experts_per_tok > 1:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        routed: torch.Tensor = self.experts(tokens, index, weights.to(tokens.dtype)).reshape(hidden.shape)
        return routed if self.shared_experts is None else routed + self.shared_experts(hidden)


class _HasExperts:
    """Says that the experts' function can be chosen; transformers would look for a decorator in this file."""

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        return True


class DeepseekModel(_HasExperts, LlamaModel):  # type: ignore[no-untyped-call]
    """Llama's decoder whose layers after the first dense ones are MoE layers."""

    config_class = DeepseekConfig

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        layers: Any = self.layers
        for index, layer in enumerate(layers):
            if index >= config.first_k_dense_replace and index % config.moe_layer_freq == 0:
                layer.mlp = DeepseekMoe(config)


class DeepseekForCausalLM(_HasExperts, LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """The decoder and its LM head."""

    config_class = DeepseekConfig

    def __init__(self, config: DeepseekConfig) -> None:
        """Build the model.

        Raises:
            InvalidInputError: for scores other than softmax.
        """
        if config.scoring_func != "softmax":
            raise InvalidInputError(
                f"deepseek: scoring_func is {config.scoring_func!r}; DeepSeekMoE routes by 'softmax'"
            )
        LlamaPreTrainedModel.__init__(self, config)
        self.model = DeepseekModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]


def _shared(config: DeepseekConfig, count: int) -> LlamaConfig:
    """The configuration of an MLP as wide as `count` experts."""
    return LlamaConfig(
        hidden_size=config.hidden_size,
        intermediate_size=count * config.moe_intermediate_size,
        num_attention_heads=config.num_attention_heads,
        hidden_act=config.hidden_act,
    )


AutoConfig.register(DeepseekConfig.model_type, DeepseekConfig, exist_ok=True)
AutoModelForCausalLM.register(DeepseekConfig, DeepseekForCausalLM, exist_ok=True)
# On disk the experts have the names that Qwen2-MoE's have.
names: Any = get_checkpoint_conversion_mapping
register_checkpoint_conversion_mapping(DeepseekConfig.model_type, names("qwen2_moe"), overwrite=True)
