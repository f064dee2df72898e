"""Quantised weights that stay packed in an export, and what they give when a bundle is made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import olmoe, save_random_model  # noqa: E402
from one_trace import traced_once  # noqa: E402
from packings import PACKINGS, pack_gptq  # noqa: E402
from quantised import packed_folder, write_quantised  # noqa: E402

import hetc  # noqa: E402
from hetc.base.errors import InvalidInputError, UsageError  # noqa: E402
from hetc.huggingface.quantised.kept import Groups, Numbers, as_blocks, why_not_kept  # noqa: E402
from hetc.huggingface.quantised.reading import checkpoint_tensors  # noqa: E402
from hetc.model.block_weights import unpack  # noqa: E402
from hetc.model.quantised_tensor import dequantise  # noqa: E402

one_trace = pytest.fixture(scope="module", autouse=True)(traced_once)


def kept_values(groups: Groups, found: Numbers) -> np.ndarray:
    """What MatMulNBits multiplies by."""
    size, (codes, scales, *zeros) = as_blocks(groups, found)
    outputs, inputs = found.numbers.shape
    zero = np.array([1 << (groups.bits - 1)])
    if zeros:
        zero = zeros[0].numpy()
        zero = unpack(zero, groups.bits)[:, : scales.shape[1]] if zero.dtype == np.uint8 else zero
    numbers = unpack(codes.numpy().reshape(outputs, -1), groups.bits)[:, :inputs]
    return dequantise(numbers, scales.float().numpy(), zero, 1, size)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", ["middle", "packed", "beyond"])
@pytest.mark.parametrize("size", [16, 48, 144])
def test_blocks_mean_what_groups_do(bits: int, zeros: str, size: int) -> None:
    """Groups that are no block of MatMulNBits are several; a zero point of 2^bits, as GPTQ may have, too."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 1 << bits, (6, 144), generator=random)
    scales = torch.rand(6, 144 // size, generator=random).half()
    points = torch.randint(0, 1 << bits, scales.shape, generator=random) if zeros != "middle" else None
    if points is not None and zeros == "beyond":
        points[0, 0] = 1 << bits
    meant = torch.full(scales.shape, 1 << (bits - 1)) if points is None else points
    values = (numbers - meant.repeat_interleave(size, 1)) * scales.float().repeat_interleave(size, 1)
    groups = Groups(bits, size, lambda parts: Numbers(numbers, scales, points))
    assert not why_not_kept(groups, (6, 144))
    np.testing.assert_array_equal(kept_values(groups, Numbers(numbers, scales, points)), values.numpy())


@pytest.mark.parametrize(
    ("bits", "size", "reason"),
    [
        (2, 16, "its numbers have 2 bits, not 4 or 8"),
        (4, 24, "its 144 inputs in groups of 24 are no blocks of 256, 128, 64, 32, 16"),
        (4, 64, "its 144 inputs in groups of 64 are no blocks"),
    ],
)
def test_why_not(bits: int, size: int, reason: str) -> None:
    assert reason in why_not_kept(Groups(bits, size, lambda parts: pytest.fail()), (6, 144))


@pytest.mark.parametrize("name", PACKINGS)
def test_a_formats_parts_are_kept_or_why_not(name: str, tmp_path: Path) -> None:
    settings, pack, package = PACKINGS[name]
    if package:
        pytest.importorskip(package)
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    parts, meant = pack(weight)
    stored = {f"a{ending}": part.contiguous() for ending, part in parts.items()}
    packed_folder(tmp_path / "checkpoint", {"quant_method": name, **settings}, stored)
    tensor = checkpoint_tensors(tmp_path / "checkpoint")["a.weight"]
    if name in ("fp8", "bitsandbytes"):
        assert tensor.unkept == "ONNX Runtime has no product with such weights"
        return
    assert not tensor.unkept
    found = tensor.kept.numbers({ending: torch.as_tensor(part) for ending, part in parts.items()})
    values = torch.from_numpy(kept_values(tensor.kept, found))
    assert (
        torch.equal(values.bfloat16(), meant)
        or (values - meant.float()).abs().max() < 2**-8 * values.abs().max()
    )


def test_scattered_groups(tmp_path: Path) -> None:
    parts, _ = pack_gptq(torch.randn(32, 64, generator=torch.Generator().manual_seed(0)))
    parts = {**parts, ".g_idx": parts[".g_idx"].flip(0).contiguous()}
    stored = {f"a{ending}": part.contiguous() for ending, part in parts.items()}
    settings = {"quant_method": "gptq", **PACKINGS["gptq"][0]}
    for name, desc_act in (("said", True), ("unsaid", False)):
        packed_folder(tmp_path / name, {**settings, "desc_act": desc_act}, stored)
    said, unsaid = (checkpoint_tensors(tmp_path / name)["a.weight"] for name in ("said", "unsaid"))
    assert said.unkept == "its groups lie in order of activation (desc_act)"
    with pytest.raises(InvalidInputError, match="g_idx scatters its groups"):
        unsaid.blocks()


def test_a_word_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="digital weights 'int3' is not known; choose one of float16, keep"):
        hetc.export(tmp_path, tmp_path / "out", digital_weights="int3")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olmoe") / "checkpoint"
    save_random_model(olmoe(), folder, torch.bfloat16)
    return folder


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gptq", "awq", "compressed-tensors"])
def test_export_compile_and_verify(name: str, plain: Path, tmp_path: Path) -> None:
    settings, pack, package = PACKINGS[name]
    if package:
        pytest.importorskip(package)
    write_quantised(plain, tmp_path / "checkpoint", {"quant_method": name, **settings}, pack)
    values = hetc.export(tmp_path / "checkpoint", tmp_path / "values")
    kept = hetc.export(tmp_path / "checkpoint", tmp_path / "kept", digital_weights="keep")
    # Experts and attention of two layers.
    assert operators(kept)["MatMulNBits"] == 2 * (3 * 8 + 4)
    expected = hetc.compile(values, tmp_path / "values.hetc", digital_frac=0.25).plan
    bundle = hetc.compile(kept, tmp_path / "kept.hetc", digital_frac=0.25)
    plan = bundle.plan
    assert plan.shares == expected.shares
    assert [(unit.id, unit.parameters) for unit in plan.units] == [
        (unit.id, unit.parameters) for unit in expected.units
    ]
    # Two experts of eight and attention stay packed.
    assert operators(bundle.path / "model.onnx")["MatMulNBits"] == 2 * (3 * 2 + 4)
    (experts,) = (row for row in plan.arithmetic if row.kind == "expert")
    scales = "bfloat16" if name == "compressed-tensors" else "float16"
    assert (experts.stored, experts.values) == ("uint4, 16 to a scale", scales)
    assert {check.status for check in hetc.verify(bundle, seeds=2)} == {"ok"}


@pytest.mark.slow
def test_what_cannot_be_kept_is_said(plain: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings: Any = PACKINGS["fp8"]
    write_quantised(plain, tmp_path / "checkpoint", {"quant_method": "fp8", **settings[0]}, settings[1])
    path = hetc.export(tmp_path / "checkpoint", tmp_path / "kept", digital_weights="keep")
    said = "56 of 56 weights of fp8 don't stay packed: ONNX Runtime has no product with such weights"
    assert said in caplog.text
    assert operators(path)["MatMulNBits"] == 0
