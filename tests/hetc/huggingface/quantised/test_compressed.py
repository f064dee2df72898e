"""compressed-tensors' formats, written and read by that library, through hetc's reading."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")

from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from compressed_tensors.quantization import QuantizationScheme  # noqa: E402
from quantised import assert_same_bits, packed_folder, read_packed  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402

MODULE = "model.layers.0.self_attn.o_proj"
GROUP = {"strategy": "group", "group_size": 16}
CHANNEL = {"strategy": "channel"}
TENSOR = {"strategy": "tensor"}
BLOCK = {"strategy": "block", "block_structure": [16, 16]}


def grid(weights: dict[str, Any], rows: int, columns: int) -> tuple[int, ...]:
    """Shape of the scales."""
    return {
        "group": (rows, columns // weights.get("group_size", 1)),
        "channel": (rows, 1),
        "tensor": (1,),
        "block": (math.ceil(rows / 16), math.ceil(columns / 16)),
    }[weights["strategy"]]


def compressed(form: str, weights: dict[str, Any], experts: int = 0) -> tuple[dict[str, Any], Any]:
    """Parts that the library makes of a random weight, and what it makes of them."""
    generator = torch.Generator().manual_seed(0)
    shape = ((experts,) if experts else ()) + (32, 48)
    weight = torch.randn(shape, generator=generator).bfloat16()
    scales = torch.rand(
        (*shape[:-2], *grid(weights, *shape[-2:])), generator=generator, dtype=torch.float32
    ).add(0.5)
    largest = 2 ** (weights["num_bits"] - 1) if weights["type"] == "int" else 448
    state = {"weight": weight, "weight_scale": (scales * 3 / largest).bfloat16()}
    if not weights.get("symmetric", True):
        high = 2 ** (weights["num_bits"] - 1)
        state["weight_zero_point"] = torch.randint(
            -high, high, scales.shape, generator=generator, dtype=torch.int8
        )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    compressor = BaseCompressor.get_value_from_registry(form)
    parts = compressor.compress(state, scheme)
    return parts, compressor.decompress(parts, scheme)["weight"]


def folder_of(tmp_path: Path, form: str, weights: dict[str, Any], parts: dict[str, Any], **more: Any) -> Path:
    config = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ["lm_head"],
        **more,
    }
    return packed_folder(
        tmp_path / "checkpoint", config, {f"{MODULE}.{key}": part for key, part in parts.items()}
    )


def whole(num_bits: int, strategy: dict[str, Any], symmetric: bool = True) -> dict[str, Any]:
    return {"num_bits": num_bits, "type": "int", "symmetric": symmetric, **strategy}


def real(strategy: dict[str, Any]) -> dict[str, Any]:
    return {"num_bits": 8, "type": "float", "symmetric": True, **strategy}


@pytest.mark.parametrize(
    ("form", "weights"),
    [
        ("pack-quantized", whole(4, GROUP)),
        ("pack-quantized", whole(4, GROUP, symmetric=False)),
        ("pack-quantized", whole(4, CHANNEL)),
        ("pack-quantized", whole(8, GROUP)),
        ("int-quantized", whole(8, CHANNEL)),
        ("int-quantized", whole(8, TENSOR, symmetric=False)),
        ("float-quantized", real(CHANNEL)),
        ("float-quantized", real(TENSOR)),
        ("float-quantized", real(BLOCK)),
        ("naive-quantized", real(GROUP)),
    ],
    ids=str,
)
def test_same_bits(form: str, weights: dict[str, Any], tmp_path: Path) -> None:
    parts, weight = compressed(form, weights)
    folder = folder_of(tmp_path, form, weights, parts)
    assert_same_bits(read_packed(folder, f"{MODULE}.weight"), weight)


def test_a_group_that_names_the_module(tmp_path: Path) -> None:
    weights = whole(4, GROUP)
    parts, weight = compressed("pack-quantized", weights)
    groups = {
        "group_0": {"targets": ["Linear"], "weights": real(CHANNEL), "format": "float-quantized"},
        "group_1": {"targets": ["re:.*o_proj$"], "weights": weights, "format": "pack-quantized"},
    }
    folder = folder_of(tmp_path, "mixed-precision", weights, parts, config_groups=groups)
    assert_same_bits(read_packed(folder, f"{MODULE}.weight"), weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "marlin-24"}, r"config_groups\.group_0\.format is 'marlin-24'; .* pack-quantized"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config is .* only quantised"),
        ({"transform_config": {"config_groups": {"R1": {}}}}, "transform_config is"),
        ({"config_groups": {}}, "at least one group"),
        (
            {"config_groups": {"one": {"targets": ["re:.*up.*"], "weights": whole(4, GROUP)}}},
            "o_proj: no group",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    weights = whole(4, GROUP)
    parts, _ = compressed("pack-quantized", weights)
    folder = folder_of(tmp_path, "pack-quantized", weights, parts, **changes)
    with pytest.raises(InvalidInputError, match=message):
        read_packed(folder, f"{MODULE}.weight")
