"""MXFP4 against transformers' own dequantisation."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
STACK = "model.layers.0.mlp.experts.down_proj"


def test_every_value_and_scale(tmp_path: Path) -> None:
    # 16 x 16 pairs of values in each of 2 x 8 blocks, and every scale that is a number.
    blocks = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 8, 1, 1)
    scales = torch.arange(256, dtype=torch.int32).clamp(max=254).to(torch.uint8).reshape(2, 8, 16)
    folder = packed_folder(
        tmp_path / "checkpoint", MXFP4, {f"{STACK}_blocks": blocks, f"{STACK}_scales": scales}
    )
    expected = convert_moe_packed_tensors(blocks, scales)
    assert expected.shape == (2, 512, 8)
    assert_same_bits(read_packed(folder, STACK), expected)


def test_scales_of_other_blocks_are_refused(tmp_path: Path) -> None:
    parts = {
        f"{STACK}_blocks": torch.zeros(2, 8, 4, 16, dtype=torch.uint8),
        f"{STACK}_scales": torch.zeros(2, 8, 3, dtype=torch.uint8),
    }
    folder = packed_folder(tmp_path / "checkpoint", MXFP4, parts)
    with pytest.raises(InvalidInputError, match=r"down_proj_scales \[2, 8, 3\]"):
        read_packed(folder, STACK)


def test_blocks_without_scales_are_refused(tmp_path: Path) -> None:
    parts = {f"{STACK}_blocks": torch.zeros(2, 8, 4, 16, dtype=torch.uint8)}
    folder = packed_folder(tmp_path / "checkpoint", MXFP4, parts)
    with pytest.raises(InvalidInputError, match=r"down_proj_scales' is missing"):
        read_packed(folder, STACK)
