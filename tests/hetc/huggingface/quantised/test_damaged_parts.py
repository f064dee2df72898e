"""Damaged quantised checkpoints are one error of their user, never one of hetc's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from packings import pack_fp8, pack_gptq  # noqa: E402
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
