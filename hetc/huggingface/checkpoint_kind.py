"""Says what a folder is that was given for a checkpoint and isn't one, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.model.generation_config import CONFIG, read_config

__all__ = ["LARGE_FILE_POINTER", "require_checkpoint", "require_no_pointer"]

LARGE_FILE_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the few lines begin that Git keeps in the place of a large file."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
WRITERS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "WithLMHead")
"""How transformers' classes of models are called that write text."""
OTHER_FORMATS = (".bin", ".pt", ".pth", ".gguf", ".msgpack", ".h5")
SAVE = "with transformers: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)"


def require_checkpoint(folder: Path) -> None:
    """Raises unless a folder has a configuration and weights that hetc can read.

    Raises:
        InvalidInputError: Pointers of Git LFS, an adapter without its base, shards without an index, weights
            in another format, a model whose code transformers doesn't have, or an encoder; each with the next
            step.
    """
    if (folder / "adapter_config.json").is_file() and not (folder / WEIGHTS).is_file():
        base = read_config(folder / "adapter_config.json").get("base_model_name_or_path") or "a base model"
        raise InvalidInputError(
            f"{folder} is an adapter (LoRA) of {base}, not a whole model; merge the two first, as peft's "
            f"merge_and_unload() does, and save the result {SAVE.removeprefix('with transformers: ')}"
        )
    if not (folder / CONFIG).is_file():
        raise InvalidInputError(f"{folder} has no {CONFIG}; give the folder of a transformers checkpoint")
    for name in (CONFIG, INDEX, WEIGHTS):
        require_no_pointer(folder / name)
    _require_weights(folder)
    config = read_config(folder / CONFIG)
    if config.get("auto_map") and not _is_known(config.get("model_type")):
        raise InvalidInputError(
            f"{folder}: the model type {config.get('model_type')!r} needs Python code that the checkpoint "
            "brings (auto_map in config.json), which hetc doesn't run; use a version of transformers that "
            "has this family, or compile an ONNX model that was made with that code"
        )
    if _is_encoder(config):
        raise InvalidInputError(
            f"{folder} is an encoder ({config['architectures'][0]}), which writes no text; `hetc export` "
            "takes language models that do, and `hetc compile` an ONNX model that another exporter made of it"
        )


def require_no_pointer(file: Path) -> None:
    """Raises `InvalidInputError` for a file that Git LFS has not fetched yet."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        start = stream.read(len(LARGE_FILE_POINTER))
    if start == LARGE_FILE_POINTER:
        raise InvalidInputError(
            f"{file} is a pointer of Git LFS, not the file itself; run `git lfs pull` in {file.parent}"
        )


def _require_weights(folder: Path) -> None:
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return
    others = sorted(folder.glob("*.safetensors"))
    if others:
        raise InvalidInputError(
            f"{folder} has {len(others)} safetensors files, such as {others[0].name}, but no {INDEX} that "
            "says which tensor is where; copy it from the checkpoint's source"
        )
    packed = [file for file in sorted(folder.iterdir()) if file.suffix in OTHER_FORMATS]
    if packed and packed[0].suffix == ".gguf":
        raise InvalidInputError(f"{folder} holds a GGUF file; give `hetc export` that file: {packed[0]}")
    if packed:
        raise InvalidInputError(f"{packed[0]}: hetc reads safetensors; save the checkpoint again {SAVE}")
    raise InvalidInputError(f"{folder / WEIGHTS}: missing; the checkpoint needs its weights as safetensors")


def _is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a family that fills in masked words, and was not trained to write on."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    trained = config.get("architectures")
    if not isinstance(trained, list) or not trained or config.get("is_decoder"):
        return False
    writes = any(str(name).endswith(WRITERS) for name in trained)
    return config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not writes


def _is_known(model_type: object) -> bool:
    """Whether transformers has the code of a family."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
