"""A transformers model without weights: every parameter is one zero, stretched to its shape by strides of 0.

Such a model traces like a real one, which a model on the device `meta` or of fake tensors does not: buffers
and constants that the code computes are real and reach the graph.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

import hetc.huggingface.deepseek  # noqa: F401 - registers the family
from hetc.base.errors import InvalidInputError
from hetc.huggingface.export.compressed_attention import prepare_compressors
from hetc.huggingface.export.encoder_decoder_experts import ENCODER_DECODERS
from hetc.huggingface.export.images import WITH_IMAGES, image_inputs
from hetc.huggingface.export.own_experts import OWN_EXPERTS
from hetc.huggingface.export.placeholder import prepare_experts
from hetc.huggingface.export.rotary import prepare_rotary
from hetc.huggingface.export.stand_ins import unknown_loop

__all__ = ["build_skeleton", "fill_with_zeros"]


def build_skeleton(folder: Path) -> PreTrainedModel:
    """The causal language model of a checkpoint folder's config.json, float32, on the device `meta`.

    Raises:
        InvalidInputError: a configuration that transformers cannot build, or a family whose experts hetc
            cannot express.
    """
    try:
        # The code that some checkpoints bring is not run.
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever a family's configuration makes of values that it doesn't expect
        raise InvalidInputError(f"{folder}: transformers cannot read the configuration: {error}") from error
    text = config.get_text_config()
    for part in (config, text):
        # The graph is that of the values, however they are stored.
        vars(part).pop("quantization_config", None)
    # Configurations from training ask for the router's loss, which generation does not use.
    text.output_router_logits = False
    try:
        with torch.device("meta"):
            images = image_inputs(config) is not None
            whole = config if images else text
            own: Any = {**OWN_EXPERTS, **ENCODER_DECODERS}.get(whole.model_type)
            auto: Any = AutoModelForImageTextToText if images else AutoModelForCausalLM
            if config.is_encoder_decoder:
                auto = AutoModelForSeq2SeqLM
            build: Any = own._from_config if own else auto.from_config
            model: PreTrainedModel = build(
                whole if own else config, dtype=torch.float32, attn_implementation="eager"
            )
    except ValueError as error:
        # transformers goes on with the names of all types that it has.
        reason = str(error).partition("\n")[0]
        if hasattr(config, "vision_config"):
            reason += f" With its images, hetc exports {' and '.join(WITH_IMAGES)}."
        raise InvalidInputError(
            f"{folder}: {config.model_type} is not a causal language model: {reason}"
        ) from error
    loop = unknown_loop(sys.modules[type(model).__module__])
    if loop:
        raise InvalidInputError(
            f"{folder}: {text.model_type}: this transformers has another {loop} than hetc knows, whose trace "
            "would fail for prompts of other lengths"
        )
    prepare_experts(model, config.model_type)
    prepare_rotary(model)
    prepare_compressors(model)
    model.train(False)
    return model


def fill_with_zeros(model: PreTrainedModel) -> None:
    """Move the model off `meta`: parameters become zeros without memory, buffers get their first values."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
        # Persistent buffers come from the checkpoint; the others are computed where transformers does it.
        # It would fill parameters too, so these are still on `meta`.
        if module._non_persistent_buffers_set:
            initialize: Any = model._init_weights
            initialize(module)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                zero: Any = torch.zeros(()).expand(parameter.shape)
                module._parameters[name] = nn.Parameter(zero, requires_grad=False)
    model.tie_weights()
