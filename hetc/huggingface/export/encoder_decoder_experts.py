"""SwitchTransformers and NLLB-MoE, whose experts transformers keeps in code of their own.

Their MoE layers are rewritten as in `hetc.huggingface.export.own_experts`. What they drop:

* SwitchTransformers lets an expert take `expert_capacity` tokens of a sequence, the first ones. The weight of
  the others is 0 here, which gives the same sum.
* NLLB-MoE lets an expert take `moe_eval_capacity_token_fraction` of a batch. From 1 on, which is what was
  published, nothing is dropped; less is refused.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from transformers import NllbMoeForConditionalGeneration, SwitchTransformersForConditionalGeneration
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import MergeModulelist, WeightConverter
from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeSparseMLP
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersSparseMLP

from hetc.base.errors import InvalidInputError
from hetc.huggingface.export.own_experts import Experts, HasExperts

__all__ = ["ENCODER_DECODERS"]


class PlainExperts(Experts):
    """`Experts` without a gate."""

    has_gate = False


class SwitchMoe(SwitchTransformersSparseMLP):
    """SwitchTransformers' layer: each token to its best expert, until that is full."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        up = torch.empty(config.num_experts, config.d_ff, config.d_model)
        self.capacity = config.expert_capacity
        self.experts: Any = PlainExperts(
            config,
            config.dense_act_fn,
            up_proj=up,
            down_proj=up.mT.clone(memory_format=torch.contiguous_format),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[batch, sequence, H]` -> the same."""
        weight, index = self.router.classifier(hidden.float()).softmax(dim=-1).max(dim=-1)
        chosen = torch.nn.functional.one_hot(index, self.router.num_experts)
        taken = (chosen.cumsum(dim=-2) * chosen).sum(dim=-1) <= self.capacity
        routed: torch.Tensor = self.experts(
            hidden.flatten(0, 1), index.reshape(-1, 1), (weight * taken).reshape(-1, 1)
        )
        return routed.reshape(hidden.shape)


class SwitchWithExperts(HasExperts, SwitchTransformersForConditionalGeneration):  # type: ignore[no-untyped-call]
    """SwitchTransformers with `Experts`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        stacks: Any = (self.encoder, self.decoder)
        for block in (block for stack in stacks for block in stack.block):
            if block.is_sparse:
                block.layer[-1].mlp = SwitchMoe(config)


class NllbMoe(NllbMoeSparseMLP):
    """NLLB-MoE's layer: each token to its two best experts.

    transformers 5.24 computes something else: it reads the mask of chosen experts as their numbers, and so
    uses experts 0 and 1 alone. This is what fairseq and transformers 4 compute.
    """

    def __init__(self, config: Any, width: int) -> None:
        super().__init__(config, 0)
        up = torch.empty(config.num_experts, width, config.d_model)
        self.share = 1 - config.moe_token_dropout
        self.experts: Any = PlainExperts(
            config,
            config.activation_function,
            up_proj=up,
            up_proj_bias=up[..., 0].clone(),
            down_proj=up.mT.clone(memory_format=torch.contiguous_format),
            down_proj_bias=up[:, 0].clone(),
        )

    def forward(self, hidden: torch.Tensor, padding_mask: torch.Tensor | None = None) -> torch.Tensor:
        """`[batch, sequence, H]` -> the same; what padding gets, nothing reads."""
        tokens = hidden.flatten(0, 1)
        probabilities = self.router.classifier(tokens.float()).softmax(dim=-1)
        weights, index = probabilities.topk(2, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).eps)
        routed: torch.Tensor = self.experts(tokens, index, weights * self.share)
        return routed.reshape(hidden.shape)


class NllbWithExperts(HasExperts, NllbMoeForConditionalGeneration):  # type: ignore[no-untyped-call]
    """NLLB-MoE with `Experts`."""

    def __init__(self, config: Any) -> None:
        """Build the model.

        Raises:
            InvalidInputError: tokens are dropped, or sent to their second expert by chance.
        """
        fraction, policy = config.moe_eval_capacity_token_fraction, config.second_expert_policy
        if fraction < 1:
            raise InvalidInputError(
                f"nllb-moe: moe_eval_capacity_token_fraction is {fraction}, so that what a token gets "
                "depends on the rest of its batch; with 1 in config.json, as published, nothing is dropped"
            )
        if policy != "all":
            raise InvalidInputError(
                f"nllb-moe: second_expert_policy is {policy!r}, which draws random numbers; "
                "only 'all' is exported"
            )
        super().__init__(config)
        for stack, width in (
            (self.model.encoder, "encoder_ffn_dim"),
            (self.model.decoder, "decoder_ffn_dim"),
        ):
            layers: Any = stack.layers
            for layer in layers:
                if layer.is_sparse:
                    layer.ffn = NllbMoe(config, getattr(config, width))


ENCODER_DECODERS: MappingProxyType[str, Any] = MappingProxyType(
    {"nllb-moe": NllbWithExperts, "switch_transformers": SwitchWithExperts}
)
"""Model type -> the class to build instead of transformers'."""


def _stack(source: str, target: str) -> WeightConverter:
    return WeightConverter(f"experts.*.{source}", f"experts.{target}", [MergeModulelist(dim=0)])


register_checkpoint_conversion_mapping(
    SwitchWithExperts.__name__,
    [_stack("wi.weight", "up_proj"), _stack("wo.weight", "down_proj")],
    overwrite=True,
)
register_checkpoint_conversion_mapping(
    NllbWithExperts.__name__,
    [
        _stack("fc1.weight", "up_proj"),
        _stack("fc1.bias", "up_proj_bias"),
        _stack("fc2.weight", "down_proj"),
        _stack("fc2.bias", "down_proj_bias"),
    ],
    overwrite=True,
)
