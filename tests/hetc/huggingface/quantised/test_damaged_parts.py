"""Damaged quantised checkpoints are one error of their user, never one of hetc's own."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from packings import GROUP, PACKINGS, pack_awq, pack_bitsandbytes, pack_compressed, pack_fp8, pack_gptq  # noqa: E402
from quantised import packed_folder, read_packed  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

NAME = "layer.weight"


def folder_of(path: Path, settings: dict[str, Any], parts: dict[str, Any]) -> Path:
    return packed_folder(
        path / "c", settings, {f"layer{end}": part.contiguous() for end, part in parts.items()}
    )


def test_no_scales(tmp_path: Path) -> None:
    parts = dict(pack_fp8(torch.randn(32, 32))[0])
    parts[".weight_scale_inv"] = parts[".weight_scale_inv"][:0]
    with pytest.raises(InvalidInputError, match="don't fit"):
        read_packed(folder_of(tmp_path, {"quant_method": "fp8"}, parts), NAME)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quant_method": ["gptq"]},
        {"checkpoint_format": [1]},
        {"dynamic": 5},
        {"dynamic": [1]},
        {"group_size": 32},
    ],
)
def test_settings_of_gptq(wrong: dict[str, Any], tmp_path: Path) -> None:
    parts = dict(pack_gptq(torch.randn(32, 32))[0])
    del parts[".g_idx"]
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 16, **wrong}
    with pytest.raises(InvalidInputError):
        read_packed(folder_of(tmp_path, settings, parts), NAME)


def test_groups_below_zero(tmp_path: Path) -> None:
    parts = dict(pack_gptq(torch.randn(32, 32))[0])
    parts[".g_idx"] -= 1
    with pytest.raises(InvalidInputError, match="below 0"):
        read_packed(folder_of(tmp_path, {"quant_method": "gptq", "bits": 4, "group_size": 16}, parts), NAME)


@pytest.mark.parametrize("part", [".scales", ".qzeros"])
def test_groups_of_awq_that_are_missing(part: str, tmp_path: Path) -> None:
    parts = dict(pack_awq(torch.randn(64, 64))[0])
    settings = {"quant_method": "awq", "bits": 4, "group_size": GROUP}
    parts[part] = parts[part][:1]
    with pytest.raises(
        InvalidInputError, match=f"{part} has 1 groups, where group_size {GROUP} makes {64 // GROUP}"
    ):
        read_packed(folder_of(tmp_path, settings, parts), NAME)


def test_double_quantisation_without_its_numbers(tmp_path: Path) -> None:
    """The largest numbers of blocks would be taken for what they are indexes of."""
    pytest.importorskip("bitsandbytes")
    parts = dict(pack_bitsandbytes(torch.randn(64, 64))[0])
    del parts[".weight.nested_absmax"]
    settings = {"quant_method": "bitsandbytes", **PACKINGS["bitsandbytes"][0]}
    with pytest.raises(InvalidInputError, match="absmax is U8 beside"):
        read_packed(folder_of(tmp_path, settings, parts), NAME)


@pytest.mark.parametrize("bits", [3, 8])
def test_other_bits_than_were_packed(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    parts = dict(pack_compressed(torch.randn(64, 64))[0])
    settings = {"quant_method": "compressed-tensors", **deepcopy(PACKINGS["compressed-tensors"][0])}
    settings["config_groups"]["group_0"]["weights"]["num_bits"] = bits
    with pytest.raises(InvalidInputError, match="num_bits is another"):
        read_packed(folder_of(tmp_path, settings, parts), NAME)
