"""What is given for a checkpoint and isn't one is said as what it is, with the next step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from hetc.base.errors import InvalidInputError
from hetc.huggingface.checkpoint import read_checkpoint
from hetc.huggingface.checkpoint_kind import LARGE_FILE_POINTER, require_checkpoint


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(LARGE_FILE_POINTER + b"v1\noid sha256:0123\nsize 99\n")


def pointer_to_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_bytes(LARGE_FILE_POINTER + b"v1\noid sha256:01\nsize 9\n")


def shards(folder: Path) -> None:
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(b"x")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    (folder / "adapter_model.safetensors").write_bytes(b"x")


def pickled(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")


def own_code(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x")
    config = {"model_type": "unheard_of", "auto_map": {"AutoConfig": "configuration.Own"}}
    (folder / "config.json").write_text(json.dumps(config))


def encoder(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))


def nested(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "config.json").write_text("[" * 100_000)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pointer, r"model\.safetensors is a pointer of Git LFS.*git lfs pull"),
        (pointer_to_index, r"index\.json is a pointer of Git LFS"),
        (encoder, r"is an encoder \(BertModel\), which writes no text; `hetc export` takes language models"),
        (shards, r"2 safetensors files.*no model\.safetensors\.index\.json"),
        (adapter, r"an adapter \(LoRA\) of someone/base.*merge"),
        (pickled, r"pytorch_model\.bin: hetc reads safetensors; save the checkpoint again"),
        (own_code, r"'unheard_of' needs Python code that the checkpoint brings"),
        (nested, r"config\.json is not JSON"),
        (no_config, r"has no config\.json"),
        (lambda folder: None, r"model\.safetensors: missing"),
    ],
)
def test_what_is_no_checkpoint(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "olmoe"}')
    make(tmp_path)
    with pytest.raises(InvalidInputError, match=message):
        require_checkpoint(tmp_path)


def test_a_pointer_among_the_shards(tmp_path: Path) -> None:
    index = {"weight_map": {"w": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "a.safetensors").write_bytes(LARGE_FILE_POINTER + b"v1\n")
    with pytest.raises(InvalidInputError, match=r"a\.safetensors is a pointer of Git LFS"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"w": 3}}', "{"])
def test_a_damaged_index(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InvalidInputError, match=r"index\.json"):
        read_checkpoint(tmp_path)


def test_a_header_nested_without_end(tmp_path: Path) -> None:
    header = b"[" * 100_000
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidInputError, match=r"model\.safetensors: its header is not JSON"):
        read_checkpoint(tmp_path)
