"""Models that take no tokens, and vision towers beside and inside of models that do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import hetc
from models import moe_model

from hetc.bundle.verify import verify
from hetc.compiler.compile import compile
from hetc.passes.analysis.find_units import find_units
from hetc.passes.analysis.outside_units import find_outside


def without_tokens(model: ir.Model) -> ir.Model:
    """The model behind its embedding: it takes floats `patches`."""
    graph = model.graph
    gather = next(node for node in graph if node.op_type == "Gather")
    cast = gather.outputs[0].consumers()[0]
    patches = ir.val("patches", ir.DataType.FLOAT, ["T", 8])
    cast.outputs[0].replace_all_uses_with(patches)
    graph.remove([cast, gather], safe=True)
    del graph.initializers["model.embed_tokens.weight"]
    graph.inputs[:] = [patches]
    return model


def with_images(model: ir.Model, folder: Path) -> ir.Model:
    """The model with an input that nothing reads, and a vision tower with weights in a file beside it."""
    model.graph.inputs.append(ir.val("image_features", ir.DataType.FLOAT, ["image_tokens", 8]))
    weight = ir.val("visual.proj.weight", const_value=ir.tensor(np.ones((3, 8), np.float32)))
    pixels = ir.val("pixel_values", ir.DataType.FLOAT, ["patches", 3])
    node = ir.node("MatMul", [pixels, weight])
    node.outputs[0].name, node.outputs[0].dtype = "image_features", ir.DataType.FLOAT
    node.outputs[0].shape = ir.Shape(["patches", 8])
    weight.const_value.name = weight.name
    graph = ir.Graph([pixels], node.outputs, nodes=[node], opset_imports={"": 18}, name="vision")
    graph.register_initializer(weight)
    tower = ir.Model(graph, ir_version=10)
    ir.save(tower, folder / "vision.onnx", external_data="vision.bin", size_threshold_bytes=0)
    return model


def test_a_vision_tower_goes_into_the_bundle_as_it_is(tmp_path: Path) -> None:
    ir.save(with_images(moe_model(), tmp_path), tmp_path / "model.onnx", external_data="weights.bin")
    for link in (False, True):
        bundle = compile(tmp_path, tmp_path / f"out-{link}.hetc", link=link)
        (finding,) = bundle.plan.findings
        assert finding.reason.startswith("the vision tower, vision.onnx (24 parameters), stays digital")
        assert "vision.onnx" in bundle.manifest and "weights/vision.bin" in bundle.manifest
        pixels = {"pixel_values": np.ones((2, 3), np.float32)}
        (features,) = onnxruntime.InferenceSession(bundle.path / "vision.onnx").run(None, pixels)
        np.testing.assert_array_equal(features, np.full((2, 8), 3))
    shown = hetc("inspect", tmp_path)
    assert "the vision tower, vision.onnx" in " ".join(shown.stdout.split()), shown.stderr


def test_a_tower_that_does_not_belong_to_the_model_stays_where_it_is(tmp_path: Path) -> None:
    with_images(moe_model(), tmp_path)
    ir.save(moe_model(), tmp_path / "model.onnx")
    bundle = compile(tmp_path / "model.onnx", tmp_path / "out.hetc")
    assert not bundle.plan.findings and "vision.onnx" not in bundle.manifest


@pytest.mark.parametrize(
    ("tokens", "units"), [(True, ["router"]), (False, ["attention", "router"])], ids=["tokens", "pixels"]
)
def test_a_tower_inside_of_a_language_model_is_no_unit(tokens: bool, units: list[str]) -> None:
    """In a model without tokens the same names are its own layers."""
    model = moe_model(layers=1)
    if not tokens:
        without_tokens(model)
    weight = model.graph.initializers["model.layers.0.self_attn.q_proj.weight"]
    weight.name = "model.vision_tower.layers.0.self_attn.q_proj.weight"
    found = [unit.kind for unit in find_units(model) if unit.kind in ("attention", "router")]
    assert found == units
    assert [finding.reason.startswith("1 products") for finding in find_outside(model)] == [True] * tokens


def test_a_model_without_tokens_is_compiled_and_verified(tmp_path: Path) -> None:
    ir.save(without_tokens(moe_model()), tmp_path / "model.onnx")
    bundle = compile(tmp_path / "model.onnx", tmp_path / "out.hetc")
    assert {check.status for check in verify(bundle, seeds=2)} == {"ok"}
    done = hetc("run", bundle.path, "--prompt", "x")
    assert done.returncode == 3
    assert "takes patches, and no input_ids: `hetc run` needs a language model" in " ".join(
        done.stderr.split()
    )


def vision_mixture() -> Any:
    """A small vision Transformer whose second block has a mixture of experts, as V-MoE's have."""
    import torch
    from torch import nn

    hidden, inner, experts = 16, 24, 4

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(hidden, experts, bias=False)
            self.experts = nn.ModuleList(mlp() for _ in range(experts))

        def forward(self, x: Any) -> Any:
            scores = self.router(x).softmax(-1)
            weight, index = scores.topk(2)
            shares = torch.zeros_like(scores).scatter(-1, index, weight)
            results = torch.stack([expert(x) for expert in self.experts], -2)
            return (results * shares.unsqueeze(-1)).sum(-2)

    class Block(nn.Module):
        def __init__(self, feed_forward: nn.Module) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
            self.qkv, self.proj, self.mlp = (
                nn.Linear(hidden, 3 * hidden),
                nn.Linear(hidden, hidden),
                feed_forward,
            )

        def forward(self, x: Any) -> Any:
            query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
            x = x + self.proj(mixed.transpose(1, 2).flatten(2))
            return x + self.mlp(self.norm2(x))

    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, hidden, 4, 4)
            self.positions = nn.Parameter(torch.randn(1, 4, hidden))
            self.blocks = nn.Sequential(Block(mlp()), Block(Mixture()))
            self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, 10)

        def forward(self, pixel_values: Any) -> Any:
            x = self.patches(pixel_values).flatten(2).transpose(1, 2) + self.positions
            return self.head(self.norm(self.blocks(x)).mean(1))

    def mlp() -> nn.Module:
        return nn.Sequential(nn.Linear(hidden, inner), nn.GELU(), nn.Linear(inner, hidden))

    torch.manual_seed(0)
    return Vision().eval()


@pytest.mark.slow
def test_a_vision_mixture_exported_by_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model, pixels = vision_mixture(), torch.randn(3, 3, 8, 8)
    torch.onnx.export(
        model,
        (pixels,),
        tmp_path / "vision_mixture.onnx",
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim.DYNAMIC}},
        dynamo=True,
        verbose=False,
    )
    bundle = compile(tmp_path / "vision_mixture.onnx", tmp_path / "out.hetc")
    kinds = [unit.kind for unit in bundle.plan.units]
    assert kinds == ["attention", "dense_mlp", "attention", "router", *["expert"] * 4, "lm_head"]
    assert {check.status for check in verify(bundle, seeds=2)} == {"ok"}
    (actual,) = bundle.session(mode="exact").run(None, {"pixel_values": pixels.numpy()})
    np.testing.assert_allclose(actual, model(pixels).detach().numpy(), atol=1e-5)
    for command in (
        ("partition", bundle.path, "-o", tmp_path / "parts", "--conductances"),
        ("bake", bundle.path, "-o", tmp_path / "baked.hetc"),
        ("cost", bundle.path),
        ("explain", bundle.path, "layers.1.experts.0"),
    ):
        done = hetc(*command)
        assert done.returncode == 0, done.stderr
    np.savez(tmp_path / "tokens.npz", tokens=np.arange(64))
    for name, target in (("tune", bundle.path), ("calibrate", tmp_path / "vision_mixture.onnx")):
        options = () if name == "tune" else ("-o", tmp_path / "calibration")
        done = hetc(name, target, "--data", tmp_path / "tokens.npz", "--window", 32, *options)
        assert done.returncode == 3 and "input_ids" in done.stderr, done.stderr
