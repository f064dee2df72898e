"""`export`: a Hugging Face checkpoint becomes an ONNX model, with its MoE layers in the canonical form.

The checkpoint's safetensors files are copied or hard-linked, and the graph's initializers are places in them.
Only what a graph cannot refer to there is written anew, see `tensor_files`. That is all of a quantised
checkpoint: its integers become the values that they mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import onnx_ir as ir
from transformers import PreTrainedModel

from hetc.base.bring_files import bring_files
from hetc.base.choices import choose
from hetc.base.errors import InvalidInputError
from hetc.base.output import whole_folder
from hetc.base.progress import progress
from hetc.huggingface.cache import CachedTensor, find_cache
from hetc.huggingface.checkpoint import StoredTensor, resolve_source
from hetc.huggingface.checkpoint_kind import require_checkpoint
from hetc.huggingface.experts import choose_experts_function, experts_modules
from hetc.huggingface.export.encoder_decoder import trace_encoder_decoder
from hetc.huggingface.export.generation import genai_config
from hetc.huggingface.export.images import image_inputs
from hetc.huggingface.export.placeholder import SHAPES_ONLY, TRACED
from hetc.huggingface.export.skeleton import build_skeleton, fill_with_zeros
from hetc.huggingface.export.tensor_files import TensorFiles
from hetc.huggingface.export.tracing import trace
from hetc.huggingface.export.vision import trace_vision
from hetc.huggingface.export.weight_names import WeightPlaces, find_weights
from hetc.huggingface.export.weights import AttachWeights, expert_weights
from hetc.huggingface.quantised.gguf_file import is_gguf
from hetc.huggingface.quantised.packed_tensor import PackedTensor
from hetc.huggingface.quantised.reading import (
    checkpoint_tensors,
    forget_quantisation,
    quantisation,
    read_gguf,
)
from hetc.model.hub import is_hub_id, local_path
from hetc.model.hub_snapshot import find_snapshot
from hetc.model.load import CHECKPOINT_KEY
from hetc.model.text_files import copy_text_files
from hetc.model.vision_file import VISION_FILE
from hetc.operators.schemas import DOMAIN
from hetc.passes.rewrite.expand_experts import ExpandExperts
from hetc.passes.rewrite.restore_quantised import RestoreQuantised
from hetc.passes.run_passes import run_passes

__all__ = ["export"]

logger = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"

DigitalWeights = Literal["float16", "keep"]
DIGITAL_WEIGHTS: tuple[DigitalWeights, ...] = get_args(DigitalWeights)


def export(
    source: str | Path,
    output: str | Path,
    *,
    link: bool = False,
    force: bool = False,
    digital_weights: DigitalWeights = "float16",
) -> Path:
    """Export a checkpoint to `output`: model.onnx, the safetensors files it points into, and the tokenizer.

    The graph takes `input_ids`, `attention_mask` `[batch, past + sequence]` (zeros on the left for padding),
    `position_ids` and the key/value cache, and gives float32 `logits`; batch, sequence and past are dynamic.
    Of a model of text and images, it takes `image_features` besides, which may be empty; `vision.onnx` beside
    it makes them of `pixel_values`.

        >>> import hetc
        >>> path = hetc.export("samples/tiny_moe", "exported")
        >>> path.name
        'model.onnx'

    Args:
        source: folder with config.json and safetensors, a GGUF file, or one of the hub: `OWNER/NAME`,
            `hf://OWNER/NAME[@REVISION][/PATH]`.
        output: folder to write; it appears whole or not at all.
        link: hard-link the safetensors files instead of copying them.
        force: replace the files of an earlier export; files of other names there stay.
        digital_weights: what quantised weights become: `float16`, the 16-bit values that they mean
            (bfloat16), or `keep`, which leaves those of 4 or 8 bits packed, for ONNX Runtime's MatMulNBits.
            `compile` takes the values of what is analog, and leaves packed what is digital.

    Returns:
        Path of model.onnx.

    Raises:
        UsageError: `output` exists and `force` is off, `source` cannot be had, or files cannot be linked.
        InvalidInputError: a checkpoint or family that cannot be exported; the message says why.
    """
    choose("digital weights", digital_weights, DIGITAL_WEIGHTS)
    output = Path(output).resolve()
    source = local_path(source, "checkpoint") if is_hub_id(source) else source
    folder = None if is_gguf(source) else resolve_source(source)
    snapshot = find_snapshot(folder or Path(source))
    with whole_folder(output, marker=None, force=force) as staging:
        tensors: Mapping[str, StoredTensor | PackedTensor]
        if folder is None:
            tensors = read_gguf(Path(source), staging)
        else:
            require_checkpoint(folder)
            tensors = checkpoint_tensors(folder)
        skeleton = build_skeleton(folder or staging)
        with TensorFiles(staging) as files:
            kept = _kept(tensors, folder) if digital_weights == "keep" else ()
            places = find_weights(skeleton, tensors, files, kept)
        brought = sorted(file for file in places.files if file.parent != staging)
        bring_files({file: staging / file.name for file in brought}, link=link)
        if folder is not None:
            copy_text_files(folder, staging)
            forget_quantisation(staging)
        _write_model(skeleton, places, staging, "" if snapshot is None else snapshot.id)
    return output / MODEL_FILE


def _kept(tensors: Mapping[str, StoredTensor | PackedTensor], folder: Path | None) -> set[str]:
    """The names of the quantised tensors that can stay packed; warns of the others, in one line a reason."""
    settings = None if folder is None else quantisation(folder)
    form = "GGUF" if settings is None else settings.values["quant_method"]
    packed = {
        name: one for name, one in tensors.items() if isinstance(one, PackedTensor) and one.kept is not None
    }
    if not packed:
        logger.warning("no weight is quantised, so that none stays packed")
    others = {name: reason for name, one in packed.items() if (reason := one.unkept)}
    for reason, count in Counter(others.values()).items():
        first = next(name for name, why in others.items() if why == reason)
        logger.warning(
            "%s of %s weights of %s don't stay packed: %s (the first is %s)",
            count,
            len(packed),
            form,
            reason,
            first,
        )
    return packed.keys() - others.keys()


def _write_model(skeleton: PreTrainedModel, places: WeightPlaces, directory: Path, hub_id: str) -> None:
    family = skeleton.config.model_type
    logger.info("tracing %s", family)
    cache: list[CachedTensor] = []
    paired = bool(skeleton.config.is_encoder_decoder)
    with _tracing(family):
        if not paired:
            choose_experts_function(skeleton, SHAPES_ONLY)
            cache = find_cache(skeleton)
        choose_experts_function(skeleton, TRACED)
        fill_with_zeros(skeleton)
        model = trace_encoder_decoder(skeleton) if paired else trace(skeleton, cache)
    expand = ExpandExperts(expert_weights(places, directory))
    run_passes(model, expand, AttachWeights(places.parameters, directory))
    expected = sum(module.num_experts for _, module in experts_modules(skeleton))
    found = sum(node.domain == DOMAIN for node in model.graph)
    if found != expected:
        raise InvalidInputError(f"{family}: the graph has {found} experts, the model {expected}")
    model.metadata_props["hetc.model_type"] = family
    if hub_id:
        model.metadata_props[CHECKPOINT_KEY] = hub_id
    # What stays packed: nothing is analog yet.
    run_passes(model, RestoreQuantised({}))
    ir.save(model, directory / MODEL_FILE)
    if image_inputs(skeleton.config) is not None:
        _write_vision(skeleton, places, directory)
    # onnxruntime-genai's configuration has no place for image features, nor for two inputs of tokens.
    elif not paired:
        _write_genai_config(skeleton, cache, directory)


def _write_genai_config(skeleton: PreTrainedModel, cache: list[CachedTensor], directory: Path) -> None:
    configuration = genai_config(skeleton.config, cache, directory / MODEL_FILE)
    if configuration:
        text = json.dumps(configuration, indent=2) + "\n"
        (directory / "genai_config.json").write_text(text, encoding="utf-8")


def _write_vision(skeleton: PreTrainedModel, places: WeightPlaces, directory: Path) -> None:
    """Write the vision tower beside the text part, with its weights in the same files."""
    with _tracing(f"the vision tower of {skeleton.config.model_type}"):
        vision = trace_vision(skeleton)
    run_passes(vision, AttachWeights(places.parameters, directory))
    ir.save(vision, directory / VISION_FILE)


@contextlib.contextmanager
def _tracing(what: str) -> Iterator[None]:
    """Shows that it takes a while, and gives errors a sentence."""
    try:
        with progress(f"tracing {what}"):
            yield
    except Exception as error:  # whatever the family's code and the tracer raise
        reason = " ".join(str(error).split("\n")[:2]).strip()
        raise InvalidInputError(f"PyTorch cannot trace {what}: {reason}") from error
