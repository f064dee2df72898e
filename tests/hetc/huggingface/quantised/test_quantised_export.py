"""Quantised checkpoints through export, compile and verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import olmoe, save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402
from one_trace import traced_once  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from packings import PACKINGS  # noqa: E402
from quantised import assert_same_bits, packed_folder, write_quantised  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402

import hetc  # noqa: E402
from hetc.huggingface.live.live_model import open_model  # noqa: E402

one_trace = pytest.fixture(scope="module", autouse=True)(traced_once)


QUICK = ("fp8",)
"""Formats that are tested each time; what they share takes most of the time."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olmoe") / "checkpoint"
    save_random_model(olmoe(), folder, torch.bfloat16)
    return folder


def initializers(path: Path) -> dict[str, Any]:
    """The bfloat16 weights of an exported model."""
    found = {}
    for one in onnx.load(path).graph.initializer:
        if one.data_type != onnx.TensorProto.BFLOAT16:
            continue
        values = torch.from_numpy(numpy_helper.to_array(one).copy().view("uint16"))
        found[one.name] = values.view(torch.bfloat16)
    return found


def compile_and_verify(path: Path) -> None:
    bundle = hetc.compile(path, path.parent / "bundle", digital_frac=0.25)
    assert {check.status for check in hetc.verify(bundle, seeds=2)} == {"ok"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PACKINGS]
)
def test_linear_layers_of_a_format(name: str, plain: Path, tmp_path: Path) -> None:
    settings, pack, package = PACKINGS[name]
    if package:
        pytest.importorskip(package)
    meant = write_quantised(plain, tmp_path / "checkpoint", {"quant_method": name, **settings}, pack)
    path = hetc.export(tmp_path / "checkpoint", tmp_path / "exported")
    stored = initializers(path)
    for weight, values in meant.items():
        assert_same_bits(stored[weight], values)
    assert "quantization_config" not in json.loads((path.parent / "config.json").read_text())
    # The quantised weights stay behind; each value is written once.
    assert not list(path.parent.glob("*.safetensors"))
    size = sum(values.nbytes for values in meant.values())
    assert size <= (path.parent / "converted.data").stat().st_size <= size + 64 * len(meant)
    compile_and_verify(path)


@pytest.mark.slow
def test_gguf(tmp_path: Path) -> None:
    """Stacks of experts, gate and up in two of them; Q4_0, Q8_0, float16 and float32 in one file."""
    gguf = pytest.importorskip("gguf")
    from gguf_files import types_of, write_gguf

    kind = gguf.GGMLQuantizationType
    kinds = types_of({"mlp.gate.": kind.F32, "embed": kind.BF16, "down": kind.Q8_0}, kind.Q4_0)
    model = save_random_model(olmoe(intermediate_size=32), tmp_path / "plain")
    meant = write_gguf(model, tmp_path / "model.gguf", gguf.MODEL_ARCH.OLMOE, kinds)
    path = hetc.export(tmp_path / "model.gguf", tmp_path / "exported")
    found = initializers(path)
    for name, values in meant.items():
        module, _, projection = name.rpartition(".")
        if not module.endswith("experts"):
            if values.dtype == torch.bfloat16:
                assert_same_bits(found[name], values)
            continue
        for expert, matrix in enumerate(values):
            parts = {"down_proj": matrix}
            if projection == "gate_up_proj":
                parts = dict(zip(("gate_proj", "up_proj"), matrix.chunk(2), strict=True))
            for part, expected in parts.items():
                assert_same_bits(found[f"{module}.{expert}.{part}.weight"], expected)
    assert json.loads((path.parent / "config.json").read_text())["model_type"] == "olmoe"
    compile_and_verify(path)


@pytest.mark.slow
def test_gpt_oss(tmp_path: Path) -> None:
    """MXFP4: stacks of experts whose gate and up are interleaved."""
    save_random_model(
        tiny_config("gpt_oss", num_hidden_layers=2, hidden_size=32, intermediate_size=32),
        tmp_path / "plain",
        torch.bfloat16,
    )
    generator = torch.Generator().manual_seed(0)
    stored, stacks = {}, {}
    for name, tensor in load_file(tmp_path / "plain" / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        shape = (experts, outputs, inputs // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(120, 126, shape, dtype=torch.uint8, generator=generator)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        stacks[name] = convert_moe_packed_tensors(blocks, scales)
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    packed_folder(tmp_path / "checkpoint", {"quant_method": "mxfp4"}, stored, config)
    path = hetc.export(tmp_path / "checkpoint", tmp_path / "exported")
    found = initializers(path)
    for name, stack in stacks.items():
        module, _, projection = name.rpartition(".")
        for expert, matrix in enumerate(stack):
            prefix = f"{module}.{expert}"
            if projection == "down_proj":
                assert_same_bits(found[f"{prefix}.down_proj.weight"], matrix)
            else:
                assert_same_bits(found[f"{prefix}.gate_proj.weight"], matrix[:, ::2].contiguous())
                assert_same_bits(found[f"{prefix}.up_proj.weight"], matrix[:, 1::2].contiguous())
    compile_and_verify(path)
    live = dict(open_model(tmp_path / "checkpoint", dtype="auto").named_parameters())
    for name, stack in stacks.items():
        assert_same_bits(live[name], stack)
