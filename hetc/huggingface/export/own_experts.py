"""Families whose experts transformers keeps in code of their own: DBRX, JetMoE and Llama 4.

Their MoE layers are rewritten as what the experts interface asks for: routing as ordinary operators, then one
module `Experts`. The rest of each model is transformers'; so are the names and values of its checkpoint.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import (
    DbrxForCausalLM,
    JetMoeForCausalLM,
    Llama4ForCausalLM,
    Llama4ForConditionalGeneration,
    PretrainedConfig,
)
from transformers.activations import ACT2FN
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, Transpose, WeightConverter, WeightRenaming
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.dbrx.modeling_dbrx import DbrxFFN
from transformers.models.jetmoe.modeling_jetmoe import JetMoeMoA, JetMoeMoE, JetMoeTopKGating
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe

from hetc.base.errors import InvalidInputError

__all__ = ["OWN_EXPERTS"]


class Experts(nn.Module):
    """A layer's experts behind transformers' experts interface; they only trace.

    Attributes:
        num_experts: E.
        act_fn: of the gate.
        is_transposed: whether weights are `[E, in, out]` instead of `[E, out, in]`.
    """

    has_gate = True
    is_concatenated = True
    has_post_expert_norm = False

    def __init__(
        self, config: PretrainedConfig, activation: str, is_transposed: bool = False, **stacks: torch.Tensor
    ) -> None:
        """Take the model's configuration, and the stacked weights by the names that the interface has."""
        super().__init__()
        self.config = config
        self.act_fn = ACT2FN[activation]
        self.is_transposed = is_transposed
        self.num_experts = len(stacks["down_proj"])
        for name, stack in stacks.items():
            self.register_parameter(name, nn.Parameter(stack))

    def _apply_gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        gated: torch.Tensor = self.act_fn(gate) * up
        return gated

    def forward(
        self, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """`[T, H]`, `[T, K]` and `[T, K]` -> `[T, H]`, by the experts function that the model is set to."""
        function: Any = ALL_EXPERTS_FUNCTIONS[self.config._experts_implementation]
        result: torch.Tensor = function(self, hidden, top_k_index, top_k_weights)
        return result


class HasExperts:
    """A model whose layers have `Experts`."""

    def set_experts_implementation(self: Any, experts_implementation: Any) -> None:
        """Choose the experts function. transformers would look for its decorator in the family's file."""
        self.config.get_text_config()._experts_implementation_internal = experts_implementation


class DbrxMoe(DbrxFFN):
    """DBRX's layer. Its checkpoints stack gate, up and down as `[E * I, H]` each, down transposed."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        ffn = config.ffn_config
        stack = torch.empty(ffn.moe_num_experts, ffn.ffn_hidden_size, config.d_model)
        self.experts: Any = Experts(
            config, ffn.ffn_act_fn["name"], gate_proj=stack, up_proj=stack.clone(), down_proj=stack.mT.clone()
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, H]` -> the same."""
        route: Any = self.route_tokens_to_experts
        weights, index = route(self.router(hidden))
        routed: torch.Tensor = self.experts(hidden.flatten(0, 1), index, weights)
        return routed.reshape(hidden.shape)


class DbrxWithExperts(HasExperts, DbrxForCausalLM):  # type: ignore[no-untyped-call]
    """DBRX with `Experts`."""

    def __init__(self, config: Any) -> None:
        """Build the model.

        Raises:
            InvalidInputError: the rotary embedding that transformers would use is not the checkpoint's.
        """
        used, meant = config.rope_parameters["rope_theta"], getattr(config.attn_config, "rope_theta", None)
        if used != meant:
            raise InvalidInputError(
                f"dbrx: attn_config.rope_theta is {meant}, and transformers would rotate by "
                f"rope_parameters.rope_theta, {used}; give both the same value in config.json"
            )
        super().__init__(config)
        layers: Any = self.transformer.blocks
        for layer in layers:
            layer.ffn = DbrxMoe(config)


class SplitExperts(ConversionOps):
    """`[E * I, H]` -> `[E, I, H]`, in the same memory."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Split one of DBRX's stacks."""
        ((stack,),) = input_dict.values()
        experts = kwargs["config"].ffn_config.moe_num_experts
        return {target_patterns[0]: stack.unflatten(0, (experts, -1))}


class JetMoeRouter(JetMoeTopKGating):
    """JetMoE's router for a trace: transformers' counts tokens per expert, as numbers of Python."""

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`[T, H]` -> the experts that each token chose, and their weights, `[T, K]`."""
        logits, index = self.layer(hidden).float().topk(self.top_k, dim=1)
        return index, logits.softmax(dim=1).type_as(hidden)


class JetMoeLayer(JetMoeMoE):
    """JetMoE's MLP layer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.experts = Experts(
            config,
            config.activation_function,
            gate_up_proj=self.input_linear.weight,
            down_proj=self.output_linear.weight,
        )
        del self.input_linear, self.output_linear
        self.router = JetMoeRouter(config.hidden_size, config.num_local_experts, config.num_experts_per_tok)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, H]` -> the same."""
        tokens = hidden.flatten(0, 1)
        routed: torch.Tensor = self.experts(tokens, *self.router(tokens))
        return routed.reshape(hidden.shape) + self.bias


class JetMoeAttentionExperts(JetMoeMoA):
    """JetMoE's experts of attention: each token's queries and outputs are projected by its best experts.

    They are not `hetc` experts, which have a gate, up and down. All of them compute every token here, in two
    batched MatMuls, and the token's choice is taken from or summed out of that.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.router = JetMoeRouter(config.hidden_size, config.num_local_experts, config.num_experts_per_tok)

    def map(self, hidden: torch.Tensor) -> tuple[torch.Tensor, None, tuple[torch.Tensor, torch.Tensor]]:
        """`[batch, sequence, H]` -> queries `[batch, sequence, K, Q]`, and the routing for `reduce`."""
        tokens = hidden.flatten(0, 1)
        index, weights = self.router(tokens)
        queries = torch.matmul(tokens, self.input_linear.weight.mT).transpose(0, 1)
        chosen = queries.gather(1, index.unsqueeze(-1).expand(-1, -1, self.hidden_size))
        return chosen.reshape(*hidden.shape[:2], self.top_k, self.hidden_size), None, (index, weights)

    def reduce(self, mixed: torch.Tensor, routing: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """`[batch, sequence, K, Q]` -> `[batch, sequence, H]`."""
        index, weights = routing
        weighted = mixed.flatten(0, 1) * weights.unsqueeze(-1)
        spread = weighted.new_zeros(weighted.shape[0], self.num_experts, self.hidden_size).scatter(
            1, index.unsqueeze(-1).expand_as(weighted), weighted
        )
        summed = torch.matmul(spread.transpose(0, 1), self.output_linear.weight.mT).sum(dim=0)
        return summed.reshape(*mixed.shape[:2], self.input_size) + self.bias


class JetMoeWithExperts(HasExperts, JetMoeForCausalLM):  # type: ignore[no-untyped-call]
    """JetMoE with `Experts`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers: Any = self.model.layers
        for layer in layers:
            layer.mlp = JetMoeLayer(config)
            layer.self_attention.experts = JetMoeAttentionExperts(config)


class Llama4Moe(Llama4TextMoe):
    """Llama 4's layer. The router's score scales what goes into an expert, not what comes out of it.

    So a token that chose K experts is K rows, each with its own score and one expert of weight 1.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        stacks = {"gate_up_proj": self.experts.gate_up_proj, "down_proj": self.experts.down_proj}
        self.experts: Any = Experts(config, config.hidden_act, is_transposed=True, **stacks)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`[batch, sequence, H]` -> `[T, H]`, and the router's logits `[T, E]`."""
        tokens = hidden.flatten(0, 1)
        _, logits = self.router(tokens)
        best, index = logits.topk(self.top_k, dim=-1)
        rows = (tokens.unsqueeze(1) * best.sigmoid().unsqueeze(-1)).flatten(0, 1)
        index = index.reshape(-1, 1)
        routed: torch.Tensor = self.experts(rows, index, torch.ones_like(index, dtype=rows.dtype))
        routed = routed.reshape(-1, self.top_k, self.hidden_dim).sum(dim=1)
        return routed + self.shared_expert(tokens), logits


class Llama4WithExperts(HasExperts, Llama4ForCausalLM):  # type: ignore[no-untyped-call]
    """Llama 4's text model with `Experts`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _replace_llama4_layers(self)


class Llama4ImagesWithExperts(HasExperts, Llama4ForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Llama 4 with its vision tower, and with `Experts`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _replace_llama4_layers(self.language_model)

    def forward(self, input_ids: torch.Tensor, mm_encoder_outputs: Any = None, **options: Any) -> Any:
        """The text part on features that are projected already; transformers 5.24's own asks its result for
        the outputs of a vision tower, which it hasn't."""
        embedded = self.get_input_embeddings()(input_ids)
        if mm_encoder_outputs is not None:
            (rows,) = mm_encoder_outputs["image"].pooler_output
            embedded = embedded.masked_scatter((input_ids == self.config.image_token_id).unsqueeze(-1), rows)
        return self.language_model(inputs_embeds=embedded, **options)


def _replace_llama4_layers(model: Any) -> None:
    for layer in model.model.layers:
        if layer.is_moe_layer:
            layer.feed_forward = Llama4Moe(model.config)


OWN_EXPERTS: MappingProxyType[str, Any] = MappingProxyType(
    {
        "dbrx": DbrxWithExperts,
        "jetmoe": JetMoeWithExperts,
        "llama4": Llama4ImagesWithExperts,
        "llama4_text": Llama4WithExperts,
    }
)
"""Model type -> the class to build instead of transformers'."""

register_checkpoint_conversion_mapping(
    DbrxWithExperts.__name__,
    [
        WeightConverter("experts.mlp.w1", "experts.gate_proj", [SplitExperts()]),
        WeightConverter("experts.mlp.v1", "experts.up_proj", [SplitExperts()]),
        WeightConverter("experts.mlp.w2", "experts.down_proj", [SplitExperts(), Transpose(1, 2)]),
    ],
    overwrite=True,
)
register_checkpoint_conversion_mapping(
    JetMoeWithExperts.__name__,
    [
        WeightRenaming(r"mlp\.input_linear\.weight", "mlp.experts.gate_up_proj"),
        WeightRenaming(r"mlp\.output_linear\.weight", "mlp.experts.down_proj"),
    ],
    overwrite=True,
)
