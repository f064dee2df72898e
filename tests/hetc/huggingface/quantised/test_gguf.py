"""GGUF files: names, layouts and values against the package gguf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

from families import mixtral, olmoe, qwen2_moe, qwen3_moe  # noqa: E402
from gguf import MODEL_ARCH  # noqa: E402
from gguf import GGMLQuantizationType as Kind  # noqa: E402
from gguf_files import types_of, write_gguf  # noqa: E402
from model_types import tiny_config  # noqa: E402
from quantised import assert_same_bits  # noqa: E402
from tokenizers import Tokenizer, pre_tokenizers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.quantised.reading import read_gguf  # noqa: E402

FIELDS = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "norm_topk_prob",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_parameters",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
BLOCKS_OF_32 = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4")
BLOCKS_OF_256 = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
WIDE = {"hidden_size": 32, "moe_intermediate_size": 32, "intermediate_size": 64}


def wide(config: Any) -> Any:
    """Rows of whole blocks of 32."""
    config.rms_norm_eps = 3e-6
    for name, size in WIDE.items():
        if hasattr(config, name):
            setattr(config, name, size)
    if hasattr(config, "shared_expert_intermediate_size"):
        config.shared_expert_intermediate_size = 96
    return config


def qwen3_moe_layers() -> Any:
    """llama.cpp's files have experts in each layer."""
    config = qwen3_moe()
    config.mlp_only_layers = []
    config.norm_topk_prob = True
    return config


FAMILIES = {
    "llama": (lambda: tiny_config("llama"), MODEL_ARCH.LLAMA),
    "mixtral": (mixtral, MODEL_ARCH.LLAMA),
    "olmoe": (olmoe, MODEL_ARCH.OLMOE),
    "qwen2": (lambda: tiny_config("qwen2"), MODEL_ARCH.QWEN2),
    "qwen2_moe": (qwen2_moe, MODEL_ARCH.QWEN2MOE),
    "qwen3": (lambda: tiny_config("qwen3"), MODEL_ARCH.QWEN3),
    "qwen3_moe": (qwen3_moe_layers, MODEL_ARCH.QWEN3MOE),
}


def random_model(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for tensor in model.state_dict().values():
        tensor.normal_(std=0.15)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, tmp_path: Path) -> None:
    build, architecture = FAMILIES[family]
    model = random_model(wide(build()))
    kinds = types_of({"mlp.gate.": Kind.F32, "embed": Kind.F16, "down": Kind.Q8_0}, Kind.Q4_0)
    meant = write_gguf(model, tmp_path / "model.gguf", architecture, kinds)
    tensors = read_gguf(tmp_path / "model.gguf", tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    for field in FIELDS:
        assert getattr(config, field, None) == getattr(model.config, field, None), field
    assert (getattr(config, "head_dim", None) or 8) == (getattr(model.config, "head_dim", None) or 8)
    assert set(tensors) == set(meant)
    for name, values in meant.items():
        read = tensors[name].read()
        assert tensors[name].shape == model.state_dict()[name].shape
        assert_same_bits(read, values)
        if read.dim() == 3:
            assert_same_bits(torch.stack(list(tensors[name].read_experts())), values)


def one_tensor(path: Path, kind: Kind, **more: Any) -> Any:
    """A Llama of one tensor of random blocks; returns them."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows = np.random.default_rng(0).integers(0, 256, (512, 2 * (size * 256 // block)), dtype=np.uint8)
    writer = gguf.GGUFWriter(path, more.pop("architecture", "llama"))
    for key in ("block_count", "embedding_length", "context_length", "attention.head_count"):
        writer.add_uint32(f"llama.{key}", 512)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in more.items():
        writer.add_key_value(key.replace("__", "."), value, gguf.GGUFValueType.get_type(value))
    writer.add_tensor("token_embd.weight", rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return rows


@pytest.mark.parametrize("kind", [*BLOCKS_OF_32, *BLOCKS_OF_256])
def test_every_bit_of_a_type(kind: str, tmp_path: Path) -> None:
    rows = one_tensor(tmp_path / "model.gguf", Kind[kind])
    with np.errstate(all="ignore"):
        (tensor,) = read_gguf(tmp_path / "model.gguf", tmp_path).values()
        expected = torch.from_numpy(gguf.dequantize(rows, Kind[kind])).bfloat16()
        assert_same_bits(tensor.read(), expected)
    assert tensor.shape == (512, 512)


def test_tokenizer(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "he", "<end>"]

    def add(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([1] * (len(tokens) - 1) + [3])
        writer.add_token_merges(["h e"])

    model = random_model(wide(olmoe()))
    write_gguf(model, tmp_path / "model.gguf", MODEL_ARCH.OLMOE, lambda name: Kind.Q8_0, add)
    read_gguf(tmp_path / "model.gguf", tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("ahe<end>").tokens == ["a", "he", "<end>"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mamba"}, "general.architecture is 'mamba'; hetc export takes llama, olmoe"),
        ({"llama__rope__scaling__type": "yarn"}, r"llama\.rope\.scaling\.type is 'yarn'"),
        ({"split__count": 3}, "one of 3 files of a model; merge them first"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    one_tensor(tmp_path / "model.gguf", Kind.Q8_0, **changes)
    with pytest.raises(InvalidInputError, match=message):
        export(tmp_path / "model.gguf", tmp_path / "exported")
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("length", [0, 3, 100, 50_000])
def test_damaged_file(length: int, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    one_tensor(file, Kind.Q8_0)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InvalidInputError, match="not a valid GGUF file"):
        export(file, tmp_path / "exported")


def test_folder_of_a_gguf_file(tmp_path: Path) -> None:
    one_tensor(tmp_path / "model.gguf", Kind.Q8_0)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(InvalidInputError, match=r"give `hetc export` that file: .*model\.gguf"):
        export(tmp_path, tmp_path / "exported")
