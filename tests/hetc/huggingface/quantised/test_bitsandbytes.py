"""bitsandbytes' 4 bits against the library's own dequantisation on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
functional = pytest.importorskip("bitsandbytes.functional")

from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

NAME = "model.layers.0.self_attn.o_proj.weight"
CONFIG = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_same_bits(kind: str, double: bool, dtype: str, tmp_path: Path) -> None:
    weight = torch.randn(96, 192, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    packed, state = functional.quantize_4bit(
        weight, quant_type=kind, compress_statistics=double, quant_storage=torch.uint8
    )
    parts = {NAME: packed, **{f"{NAME}.{key}": part for key, part in state.as_dict(packed=True).items()}}
    folder = packed_folder(tmp_path / "checkpoint", CONFIG, parts)
    expected = functional.dequantize_4bit(packed, state).bfloat16()
    # The library's kernel has a zero of each sign in FP4, its own table only the positive one.
    assert_same_bits(read_packed(folder, NAME) + 0, expected + 0)


def test_a_last_block_that_is_shorter(tmp_path: Path) -> None:
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    packed, state = functional.quantize_4bit(weight, quant_type="nf4")
    parts = {NAME: packed, **{f"{NAME}.{key}": part for key, part in state.as_dict(packed=True).items()}}
    folder = packed_folder(tmp_path / "checkpoint", CONFIG, parts)
    assert_same_bits(read_packed(folder, NAME), functional.dequantize_4bit(packed, state).bfloat16())


def test_8_bits_are_refused(tmp_path: Path) -> None:
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    folder = packed_folder(tmp_path / "checkpoint", config, {NAME: torch.zeros(4, 4, dtype=torch.int8)})
    with pytest.raises(InvalidInputError, match="load_in_4bit is None; hetc export takes 4 bits"):
        read_packed(folder, NAME)
