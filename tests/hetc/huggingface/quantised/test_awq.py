"""AWQ against weights packed and dequantised number by number, as AutoAWQ does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from packings import words_for_awq  # noqa: E402
from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

MODULE = "model.layers.0.self_attn.o_proj"
INPUTS, OUTPUTS = 32, 48


def folder_of(tmp_path: Path, group_size: int = 8, **more: Any) -> tuple[Path, Any]:
    """A checkpoint of one module, and the module's weight."""
    generator = torch.Generator().manual_seed(0)
    size = INPUTS if group_size < 0 else group_size
    numbers = torch.randint(0, 16, (INPUTS, OUTPUTS), generator=generator)
    zeros = torch.randint(0, 16, (INPUTS // size, OUTPUTS), generator=generator)
    scales = (torch.rand(INPUTS // size, OUTPUTS, generator=generator) / 100).half()
    parts = {
        f"{MODULE}.qweight": words_for_awq(numbers),
        f"{MODULE}.qzeros": words_for_awq(zeros),
        f"{MODULE}.scales": scales,
    }
    config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "version": "gemm", **more}
    weight = torch.empty(OUTPUTS, INPUTS, dtype=torch.float16)
    for row in range(INPUTS):
        weight[:, row] = scales[row // size] * (numbers[row] - zeros[row // size])
    return packed_folder(tmp_path / "checkpoint", config, parts), weight.bfloat16()


@pytest.mark.parametrize("group_size", [8, 16, -1])
def test_same_bits(group_size: int, tmp_path: Path) -> None:
    folder, weight = folder_of(tmp_path, group_size)
    assert_same_bits(read_packed(folder, f"{MODULE}.weight"), weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 3}, "quantization_config.bits is 3; hetc export takes 4"),
        ({"version": "gemv"}, "version is 'gemv'; hetc export takes gemm"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, **changes)
    with pytest.raises(InvalidInputError, match=message):
        read_packed(folder, f"{MODULE}.weight")
