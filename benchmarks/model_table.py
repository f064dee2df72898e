"""Writes docs/models.md: what `hetc export` does with each model type that transformers has experts for.

Run as `make models-table`; takes about half an hour.
Each model type is checked as tests/hetc/huggingface/export/test_model_types.py checks it, in a process of
its own, whose memory ends with it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from model_types import ENCODER_DECODERS, OWN_EXPERTS, WITH_IMAGES, causal_model_types
from test_encoder_decoder import check_encoder_decoder
from test_images import check_images
from test_model_types import TOLERANCE, check_model_type

OUTPUT = Path(__file__).parent.parent / "docs" / "models.md"
OTHERS = "\n## Other exporters"
"""Where the part of benchmarks/exporters_table.py begins, which stays."""
TIME = 600
"""Seconds that a model type may take."""

TEXT = """# Model types

Written by `benchmarks/model_table.py` with transformers {transformers} and torch {torch}.

{count} model types have a causal language model behind transformers' experts interface. {equal_count} of them
are equal to transformers: tiny random models, logits within {tolerance:g}, for two prompts of which one is
padded, whole, token by token and in chunks with the cache, and for a prompt of 70 tokens; those with state
spaces or linear attention also for prompts of 1 and of 300 tokens.

{equal}

Outside the interface: {own}, checked in the same way, and `deepseek` (DeepSeekMoE-16B), equal to an
implementation in plain torch (`tests/hetc/huggingface/test_deepseek.py`).

Models without experts go the same way; `llama` and `gpt2` are tested
(`tests/hetc/huggingface/test_dense_model.py`).

| not supported | why |
|---|---|
{refused}

## Images and encoder-decoders

{images}
are exported with their images: logits within {tolerance:g} of transformers for two prompts with an
image each, one of them padded, whole and in chunks, and for prompts of text alone
(`tests/hetc/huggingface/export/test_images.py`).

* `model.onnx` is the text part, with one more input: `image_features` `[image tokens, hidden]`, a
  row for each image token of `input_ids`, row after row of the batch. It may be empty, and so it is
  in every hetc command: a prompt of text alone needs nothing else. Qwen3-VL-MoE has
  `deepstack_features` `[depths, image tokens, hidden]` besides, and `position_ids` `[3, batch,
  sequence]`: time, height and width, as transformers' `get_rope_index` gives them. Of text alone
  all three are 0, 1, 2, ...
* `vision.onnx` is the vision tower with what projects its results: `pixel_values` -> the inputs
  above. Llama 4's takes any number of tiles at once; Qwen3-VL-MoE's one image at a time, with its
  row of `image_grid_thw`, as transformers' processor gives both. It runs in any ONNX runtime.
* `hetc compile` places the text part. The tower stays digital: the plan says so, the shares are
  those of the text part, and the bundle has `vision.onnx` as it was. Baked bundles and partitions
  are of the text part.

Two graphs and not one, so that an image is looked at once and not with every token, and no command
has to feed pixels. Features and not `inputs_embeds` go from one to the other, so that the text part
still takes tokens, and every command that feeds tokens works. Of other composite checkpoints the
text part alone is exported, where transformers has a causal language model for their type (as for
`qwen3_5_moe`); the rest is refused. A vision tower inside of a graph of another exporter is left
alone as well: weights called `visual`, `vision_tower` and the like belong to no unit where the
model takes `input_ids`.

{pairs}
are encoder-decoders, within {tolerance:g} of transformers
(`tests/hetc/huggingface/export/test_encoder_decoder.py`). `model.onnx` holds both halves:
`input_ids`, `attention_mask` and `decoder_input_ids` -> `logits`. So one plan places both,
`inspect`, `compile`, `verify`, `calibrate` and `partition` need nothing new, and a decoder's layers
are numbered on from its encoder's (`layers.12` is the first layer of the decoder behind an encoder
of 12). There is no cache: `hetc run` runs the whole for each token. Losses (`tune`, sweeps with
data) are those of the second half of each window, written from the first; tasks of lm-eval that
score answers are refused, and NLLB's target language can't be asked for.

* SwitchTransformers drops what exceeds `expert_capacity` in a sequence; the export drops the same
  tokens.
* NLLB-MoE drops nothing with `moe_eval_capacity_token_fraction` 1, as published; less is refused,
  and so is a second expert by chance. transformers 5.24 reads the mask of chosen experts as their
  numbers and uses experts 0 and 1 alone; the export computes what transformers 4 and fairseq do,
  and is compared with that.

Vision mixtures (V-MoE) have no checkpoints in transformers: `torch.onnx.export` writes them, and
`hetc compile` takes them as any model without tokens. `verify` feeds it random numbers of the
shapes that it declares; `run`, `calibrate`, `tune`, `evaluate` and sweeps say that they need
`input_ids` (`tests/hetc/compiler/test_vision_models.py`).

## Checkpoints

Checkpoints of float32, float16 and bfloat16 are read, one tensor per expert or all experts of a layer in one,
and [quantised ones](quantised.md).
"""


def check(model_type: str, queue: multiprocessing.Queue[str]) -> None:
    """Put the outcome for a model type into `queue`: empty if equal, else what was in the way."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        try:
            queue.put(_checker(model_type)(model_type, Path(folder)))
        except AssertionError as error:
            queue.put(f"exported, but differs from transformers: {error}")
        except Exception as error:  # whatever transformers or the runtime raises
            queue.put(f"failed: {type(error).__name__}: {error}")


def _checker(model_type: str) -> Callable[[str, Path], str]:
    """How a model type is compared with transformers."""
    if model_type in WITH_IMAGES:
        return check_images
    return check_encoder_decoder if model_type in ENCODER_DECODERS else check_model_type


def outcome(model_type: str) -> str:
    """Check a model type in a new process."""
    queue: multiprocessing.Queue[str] = multiprocessing.Queue()
    process = multiprocessing.Process(target=check, args=(model_type, queue))
    process.start()
    process.join(TIME)
    if process.is_alive():
        process.kill()
        process.join()
        return f"not tested: takes more than {TIME} s"
    return queue.get(timeout=10)


def main() -> None:
    """Check all model types and write the table."""
    reasons = {}
    interface = set(causal_model_types())
    for model_type in sorted({*interface, *OWN_EXPERTS, *WITH_IMAGES, *ENCODER_DECODERS}):
        reasons[model_type] = " ".join(outcome(model_type).split()).replace("|", "\\|")
        print(model_type, reasons[model_type] or "equal", flush=True)
    equal = [model_type for model_type, reason in reasons.items() if not reason and model_type in interface]
    own = [model_type for model_type in OWN_EXPERTS if not reasons[model_type]]
    refused = [f"| `{model_type}` | {reason} |" for model_type, reason in reasons.items() if reason]
    text = TEXT.format(
        transformers=version("transformers"),
        torch=version("torch"),
        count=len(interface),
        equal_count=len(equal),
        tolerance=TOLERANCE,
        equal=textwrap.fill(", ".join(f"`{model_type}`" for model_type in equal), 100),
        own=", ".join(f"`{model_type}`" for model_type in own),
        refused="\n".join(refused),
        images=", ".join(f"`{model_type}`" for model_type in WITH_IMAGES if not reasons[model_type]),
        pairs=", ".join(f"`{model_type}`" for model_type in ENCODER_DECODERS if not reasons[model_type]),
    )
    _, heading, others = OUTPUT.read_text("utf-8").partition(OTHERS)
    OUTPUT.write_text(text + heading + others, encoding="utf-8")


if __name__ == "__main__":
    main()
