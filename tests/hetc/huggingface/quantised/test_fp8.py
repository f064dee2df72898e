"""FP8 against transformers' own dequantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402
from transformers.integrations.finegrained_fp8 import Fp8Dequantize  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

NAME = "model.layers.0.self_attn.o_proj.weight"


def random_float8(*shape: int) -> Any:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).mul(80).to(torch.float8_e4m3fn)


def random_scale(*shape: int) -> Any:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) / 300


def folder_of(tmp_path: Path, weight: Any, scale: Any, ending: str = "_scale_inv", **settings: Any) -> Path:
    config = {"quant_method": "fp8", **settings}
    return packed_folder(tmp_path / "checkpoint", config, {NAME: weight, NAME + ending: scale})


def reference(weight: Any, scale: Any) -> Any:
    return Fp8Dequantize(None)._dequantize_one(weight, scale, torch.bfloat16)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "uint8", "float8_e8m0fnu"])
def test_blocks(kind: str, tmp_path: Path) -> None:
    weight, scale = random_float8(32, 48), random_scale(2, 3)
    exponents = torch.tensor([[120, 127, 131], [0, 119, 254]], dtype=torch.uint8)
    if kind == "uint8":
        scale = exponents
    else:
        scale = exponents.view(torch.float8_e8m0fnu) if "e8m0" in kind else scale.to(getattr(torch, kind))
    folder = folder_of(tmp_path, weight, scale, weight_block_size=[16, 16])
    assert_same_bits(read_packed(folder, NAME), reference(weight, scale))


def test_blocks_over_the_edge(tmp_path: Path) -> None:
    """transformers refuses these, DeepSeek's own code (weight_dequant) has the last blocks shorter."""
    weight, scale = random_float8(24, 40), random_scale(2, 3)
    folder = folder_of(tmp_path, weight, scale, weight_block_size=[16, 16])
    whole = torch.zeros(32, 48).to(torch.float8_e4m3fn)
    whole[:24, :40] = weight
    assert_same_bits(read_packed(folder, NAME), reference(whole, scale)[:24, :40])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (32, 1)])
def test_one_scale_for_all_or_a_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    weight, scale = random_float8(32, 48), random_scale(*shape)
    folder = folder_of(tmp_path, weight, scale, "_scale")
    grid = scale.reshape(shape if len(shape) == 2 else (1, 1))
    assert_same_bits(read_packed(folder, NAME), reference(weight, grid))


def test_rows_without_an_axis(tmp_path: Path) -> None:
    weight, scale = random_float8(32, 48), random_scale(32)
    folder = folder_of(tmp_path, weight, scale)
    assert_same_bits(read_packed(folder, NAME), reference(weight, scale.unsqueeze(1)))


@pytest.mark.parametrize("grid", [(4, 2, 3), (4, 1, 1), (4,)])
def test_stack_of_experts(grid: tuple[int, ...], tmp_path: Path) -> None:
    weight, scale = random_float8(4, 32, 48), random_scale(*grid)
    folder = folder_of(tmp_path, weight, scale, weight_block_size=[16, 16])
    expected = reference(weight, scale.reshape(grid if len(grid) == 3 else (4, 1, 1)))
    assert_same_bits(read_packed(folder, NAME), expected)


def test_bad_scales_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, random_float8(32, 48), random_scale(2, 7), weight_block_size=[16, 16])
    with pytest.raises(InvalidInputError, match=r"7 scales for 48 values, in blocks of \[16, 16\]"):
        read_packed(folder, NAME)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_block_size": [128]}, r"weight_block_size is \[128\]; hetc export takes two numbers"),
        ({"quant_method": "hqq"}, r"quant_method is 'hqq'; hetc export takes .*mxfp4.*or one in another"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, random_float8(32, 48), random_scale(2, 3), **settings)
    with pytest.raises(InvalidInputError, match=message):
        read_packed(folder, NAME)


def test_a_grid_of_other_blocks_is_refused(tmp_path: Path) -> None:
    """Four rows of scales divide 32 rows, but into blocks of 8."""
    folder = folder_of(tmp_path, random_float8(32, 48), random_scale(4, 3), weight_block_size=[16, 16])
    with pytest.raises(InvalidInputError, match=r"4 scales for 32 values, in blocks of \[16, 16\]"):
        read_packed(folder, NAME)


def test_scales_that_are_whole_numbers_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, random_float8(32, 48), torch.ones(2, 3, dtype=torch.int32))
    with pytest.raises(InvalidInputError, match="is I32, not one of F32"):
        read_packed(folder, NAME)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, torch.zeros(32, 48, dtype=torch.int8), random_scale(2, 3))
    with pytest.raises(InvalidInputError, match="is I8, not one of F8_E4M3"):
        read_packed(folder, NAME)
