"""GPTQ against weights packed and dequantised number by number, as AutoGPTQ does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from packings import words_for_gptq  # noqa: E402
from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

MODULE = "model.layers.0.self_attn.o_proj"
INPUTS, OUTPUTS = 32, 48


def folder_of(
    tmp_path: Path, bits: int = 4, group_size: int = 8, v2: bool = False, act_order: bool = False, **more: Any
) -> tuple[Path, Any]:
    """A checkpoint of one module, and the module's weight."""
    generator = torch.Generator().manual_seed(0)
    groups = 1 if group_size < 0 else INPUTS // group_size
    numbers = torch.randint(0, 1 << bits, (INPUTS, OUTPUTS), generator=generator)
    zeros = torch.randint(0, 1 << bits, (groups, OUTPUTS), generator=generator)
    scales = (torch.rand(groups, OUTPUTS, generator=generator) / 100).half()
    index = torch.arange(INPUTS) // (INPUTS if group_size < 0 else group_size)
    parts = {
        f"{MODULE}.qweight": words_for_gptq(numbers, bits),
        f"{MODULE}.qzeros": words_for_gptq(zeros.T, bits).T.contiguous(),
        f"{MODULE}.scales": scales,
    }
    if act_order:
        index = index[torch.randperm(INPUTS, generator=generator)]
        parts[f"{MODULE}.g_idx"] = index.int()
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group_size,
        "desc_act": act_order,
        "checkpoint_format": "gptq_v2" if v2 else "gptq",
        **more,
    }
    weight = torch.empty(OUTPUTS, INPUTS, dtype=torch.float16)
    for row in range(INPUTS):
        zero = zeros[index[row]] + (0 if v2 else 1)
        weight[:, row] = scales[index[row]] * (numbers[row] - zero)
    return packed_folder(tmp_path / "checkpoint", config, parts), weight.bfloat16()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"act_order": True},
        {"group_size": -1},
        {"v2": True},
        {"bits": 2},
        {"bits": 8, "act_order": True},
        {"dynamic": {"-:.*gate$": {}}},
    ],
    ids=str,
)
def test_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    folder, weight = folder_of(tmp_path, **changes)
    assert_same_bits(read_packed(folder, f"{MODULE}.weight"), weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 3}, "quantization_config.bits is 3; hetc export takes 2, 4, 8"),
        ({"group_size": 0}, "group_size is 0; hetc export takes -1"),
        ({"checkpoint_format": "marlin"}, "checkpoint_format is 'marlin'; hetc export takes gptq or gptq_v2"),
        ({"dynamic": {"+:.*down.*": {"bits": 8}}}, r"dynamic is '\+:.*'; hetc export takes the same bits"),
        ({"dynamic": {".*down.*": {"bits": 8}}}, "dynamic is '.*down"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path)
    file = folder / "config.json"
    config = {"quant_method": "gptq", "bits": 4, "group_size": 8, **changes}
    packed_folder(tmp_path / "other", config, {})
    file.write_text((tmp_path / "other" / "config.json").read_text())
    with pytest.raises(InvalidInputError, match=message):
        read_packed(folder, f"{MODULE}.weight")


def test_groups_that_the_scales_lack(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path, group_size=8)
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"group_size": 8', '"group_size": 4'))
    with pytest.raises(InvalidInputError, match=r"o_proj\.weight don't fit each other"):
        read_packed(folder, f"{MODULE}.weight")
