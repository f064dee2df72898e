"""Exported models against transformers, on tiny random configurations of each family."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from families import EXPERTS, FAMILIES, VOCABULARY, olmoe, save_random_model  # noqa: E402
from model_types import tiny_config  # noqa: E402
from one_trace import traced_once  # noqa: E402

from hetc.base.errors import InvalidInputError, OutputError, UsageError  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402

one_trace = pytest.fixture(scope="module")(traced_once)
TOLERANCE = 1e-4
QUICK = ("olmoe",)
"""Families that are tested each time: tracing takes most of a minute."""
PROJECTIONS = ("gate", "up", "down")
# Two sequences, the first padded on the left.
MASK = np.ones((2, 7), np.int64)
MASK[0, :3] = 0
POSITIONS = np.maximum(MASK.cumsum(axis=1) - 1, 0)


@pytest.fixture(scope="module")
def exported(one_trace: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A float32 OLMoE with a tokenizer file: (model, checkpoint, model.onnx)."""
    folder = tmp_path_factory.mktemp("olmoe")
    model = save_random_model(olmoe(), folder / "checkpoint")
    (folder / "checkpoint" / "tokenizer.json").write_text("{}")
    return model, folder / "checkpoint", export(folder / "checkpoint", folder / "exported")


def reference(
    model: Any, ids: np.ndarray, mask: np.ndarray = MASK, positions: np.ndarray = POSITIONS
) -> np.ndarray:
    with torch.no_grad():
        tensors = (torch.from_numpy(array) for array in (ids, mask, positions))
        names = ("input_ids", "attention_mask", "position_ids")
        return model(**dict(zip(names, tensors, strict=True))).logits.numpy()


def run(
    path: Path,
    ids: np.ndarray,
    chunks: list[int],
    mask: np.ndarray = MASK,
    positions: np.ndarray = POSITIONS,
) -> np.ndarray:
    """Logits of `ids`, fed in chunks of these lengths with the cache carried between."""
    session = onnxruntime.InferenceSession(path)
    sizes = {"batch": len(ids), "past_sequence": 0}
    cache = {
        one.name: np.zeros([sizes.get(size, size) for size in one.shape], np.float32)
        for one in session.get_inputs()
        if one.name.startswith("past_key_values")
    }
    logits, start = [], 0
    for chunk in chunks:
        end = start + chunk
        feeds = {
            "input_ids": ids[:, start:end],
            "attention_mask": mask[:, :end],
            "position_ids": positions[:, start:end],
        }
        first, *present = session.run(None, {**feeds, **cache})
        cache = dict(zip(cache, present, strict=True))
        logits.append(first)
        start = end
    return np.concatenate(logits, axis=1)


def assert_same_logits(path: Path, model: Any) -> None:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, MASK.shape)
    expected = reference(model, ids)
    real = MASK.astype(bool)
    assert np.abs(expected[real]).max() > 1  # a tolerance on logits near zero would test nothing
    for chunks in ([7], [1] * 7, [3, 4]):
        actual = run(path, ids, chunks)
        assert actual.dtype == np.float32
        assert np.abs(actual - expected)[real].max() <= TOLERANCE, chunks


def experts_of(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.domain == "hetc"]


@pytest.mark.parametrize(
    "family", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_family_equals_transformers(one_trace: None, family: str, tmp_path: Path) -> None:
    configuration, moe_layers = FAMILIES[family]
    model = save_random_model(configuration(), tmp_path / "checkpoint")
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    assert_same_logits(path, model)
    onnx.checker.check_model(path)

    proto = onnx.load(path, load_external_data=False)
    names = [node.name for node in experts_of(proto)]
    layers = range(2 - moe_layers, 2)
    assert names == [f"layers.{layer}.experts.{expert}" for layer in layers for expert in range(EXPERTS)]
    # onnxruntime-genai holds key and value in one shape; multi-head latent attention caches two.
    assert (path.parent / "genai_config.json").exists() == (not family.startswith("deepseek"))
    # Every floating-point tensor of the checkpoint is an initializer of the same name, in its file.
    stored = _safetensors_names(tmp_path / "checkpoint" / "model.safetensors")
    external = {one.name for one in proto.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL}
    assert external == stored
    assert proto.metadata_props[0].value == family
    assert len({node.name for node in proto.graph.node}) == len(proto.graph.node)


def _safetensors_names(file: Path) -> set[str]:
    content = file.read_bytes()
    return set(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])) - {"__metadata__"}


@pytest.mark.parametrize(
    ("dtype", "tied"),
    [
        (torch.bfloat16, False),
        *(pytest.param(one, True, marks=pytest.mark.slow) for one in (torch.float16, torch.bfloat16)),
    ],
)
def test_16_bit_checkpoint_computes_in_float32(
    one_trace: None, dtype: Any, tied: bool, tmp_path: Path
) -> None:
    config = olmoe(tie_word_embeddings=tied, output_router_logits=True)  # as training leaves it
    model = save_random_model(config, tmp_path / "checkpoint", dtype)
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    assert_same_logits(path, model)
    proto = onnx.load(path, load_external_data=False)
    assert {node.op_type for node in experts_of(proto)} == {"Expert16"}
    assert (path.parent / "model.safetensors").read_bytes() == (
        tmp_path / "checkpoint" / "model.safetensors"
    ).read_bytes()


def test_sharded_checkpoint(one_trace: None, tmp_path: Path) -> None:
    model = save_random_model(olmoe(), tmp_path / "whole")
    model.save_pretrained(tmp_path / "checkpoint", max_shard_size="40KB")
    shards = sorted(file.name for file in (tmp_path / "checkpoint").glob("*.safetensors"))
    assert len(shards) > 1
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    assert sorted(file.name for file in path.parent.glob("*.safetensors")) == shards
    assert_same_logits(path, model)


def test_graph_interface(exported: tuple[Any, Path, Path]) -> None:
    proto = onnx.load(exported[2], load_external_data=False)
    assert proto.ir_version == 10
    assert {one.domain: one.version for one in proto.opset_import} == {"": 18, "hetc": 1}
    assert [function.name for function in proto.functions] == ["Expert"]
    cache = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert [one.name for one in proto.graph.input] == [
        "input_ids",
        "attention_mask",
        "position_ids",
        *(f"past_key_values.{name}" for name in cache),
    ]
    assert [one.name for one in proto.graph.output] == ["logits", *(f"present.{name}" for name in cache)]
    mask = proto.graph.input[1].type.tensor_type.shape
    assert [dim.dim_param for dim in mask.dim] == ["batch", "total_sequence"]
    assert len(experts_of(proto)) == 2 * EXPERTS
    for node in experts_of(proto):
        assert {one.name for one in node.attribute} == {"activation", "transpose_weight"}
        assert node.input[1] == f"model.{node.name.replace('.experts', '.mlp.experts')}.gate_proj.weight"
    assert not any(node.metadata_props for node in proto.graph.node)
    assert exported[2].stat().st_size < 200_000


def test_folder_contents(exported: tuple[Any, Path, Path]) -> None:
    folder = exported[2].parent
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "genai_config.json",
        "generation_config.json",
        "model.onnx",
        "model.safetensors",
        "tokenizer.json",
    }
    decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]
    assert (decoder["num_key_value_heads"], decoder["head_size"], decoder["num_hidden_layers"]) == (2, 8, 2)
    assert not [file for file in folder.parent.iterdir() if file.name.startswith(".")]


def test_existing_output(exported: tuple[Any, Path, Path], tmp_path: Path) -> None:
    model, checkpoint, _ = exported
    output = tmp_path / "exported"
    output.mkdir()
    (output / "train.py").write_text("mine")
    (output / "model.onnx").write_text("old")
    with pytest.raises(UsageError, match="--force"):
        export(checkpoint, output)
    assert (output / "model.onnx").read_text() == "old"
    path = export(checkpoint, output, force=True)
    assert (output / "train.py").read_text() == "mine"
    assert_same_logits(path, model)
    assert [file.name for file in tmp_path.iterdir()] == ["exported"]


def test_link(exported: tuple[Any, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, checkpoint, _ = exported
    hub = tmp_path / "hub"  # a folder of symbolic links, as the hub's cache is
    hub.mkdir()
    for file in checkpoint.iterdir():
        (hub / file.name).symlink_to(file)
    path = export(hub, tmp_path / "exported", link=True)
    weights = path.parent / "model.safetensors"
    assert not weights.is_symlink()
    assert weights.samefile(checkpoint / "model.safetensors")
    assert_same_logits(path, model)

    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UsageError, match="without --link"):
        export(hub, tmp_path / "other", link=True)
    assert not (tmp_path / "other").exists()
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def external_files(path: Path) -> set[str]:
    """The files that a model's initializers lie in."""
    proto = onnx.load(path, load_external_data=False)
    return {
        entry.value
        for one in proto.graph.initializer
        for entry in one.external_data
        if entry.key == "location"
    }


def test_stacked_checkpoint_is_cut_where_it_is(exported: tuple[Any, Path, Path], tmp_path: Path) -> None:
    exported[0].save_pretrained(tmp_path / "checkpoint", save_original_format=False)
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    assert external_files(path) == {"model.safetensors"}
    assert_same_logits(path, exported[0])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interleaved_gate_and_up_are_written_apart(dtype: Any, tmp_path: Path) -> None:
    config = tiny_config("gpt_oss", num_hidden_layers=2)
    model = save_random_model(config, tmp_path / "checkpoint", dtype)
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    assert external_files(path) == {"model.safetensors", "converted.data"}
    assert_same_logits(path, model)
    proto = onnx.load(path, load_external_data=False)
    tensors = {one.name: one for one in proto.graph.initializer}
    assert len(experts_of(proto)) == 2 * EXPERTS
    for node in experts_of(proto):
        expert = f"model.{node.name.replace('.experts', '.mlp.experts')}"
        names = [
            f"{expert}.{projection}_proj.{kind}" for kind in ("weight", "bias") for projection in PROJECTIONS
        ]
        assert list(node.input[1:]) == names
        files = [{entry.key: entry.value for entry in tensors[name].external_data} for name in names]
        # down needs no change: it is a view of the stack, as are its biases.
        assert [file["location"] == "converted.data" for file in files] == [True, True, False] * 2
        sizes = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.BFLOAT16: 2}
        assert int(files[0]["length"]) == 32 * 48 * sizes[tensors[names[0]].data_type]


def test_output_that_cannot_be_written(exported: tuple[Any, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        export(exported[1], tmp_path / "file" / "exported")


def test_source_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        export(tmp_path / "nothing", tmp_path / "exported")


def test_hub_id_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UsageError, match="someone/model"):
        export("someone/model", tmp_path / "exported")


def damage_header(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\xff" * 64)


def truncate_weights(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[:-100])


def remove_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def lose_expert(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    name = b"layers.1.mlp.experts.5.up_proj"
    assert name in content
    (checkpoint / "model.safetensors").write_bytes(content.replace(name, name.replace(b"up", b"no")))


def unknown_family(checkpoint: Path) -> None:
    edit_config(checkpoint, model_type="unheard_of", architectures=["UnheardOf"])


def other_width(checkpoint: Path) -> None:
    edit_config(checkpoint, vocab_size=VOCABULARY + 1)


def more_experts(checkpoint: Path) -> None:
    edit_config(checkpoint, num_experts=EXPERTS + 1)


def wider_experts(checkpoint: Path) -> None:
    edit_config(checkpoint, intermediate_size=17)


def more_layers(checkpoint: Path) -> None:
    edit_config(checkpoint, num_hidden_layers=3)


def quantised(checkpoint: Path) -> None:
    edit_config(checkpoint, quantization_config={"quant_method": "hqq"})


def odd_activation(checkpoint: Path) -> None:
    edit_config(checkpoint, hidden_act="mish")


def edit_config(checkpoint: Path, **changes: Any) -> None:
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_header, "not a valid safetensors file"),
        (truncate_weights, "truncated"),
        (remove_weights, "model.safetensors: missing"),
        (unknown_family, "unheard_of"),
        (other_width, r"has shape \[101, 32\]"),
        (more_experts, r"has shape \[8, 32\], the configuration asks for \[9, 32\]"),
        (lose_expert, r"layers\.1\.mlp\.experts: the checkpoint has no up matrix for expert 5"),
        (wider_experts, r"gate_proj\.weight' has shape \[16, 32\]"),
        (more_layers, "model.layers.2"),
        (quantised, "quant_method is 'hqq'"),
        (odd_activation, "activation Mish"),
    ],
)
def test_bad_checkpoint_is_refused(
    damage: Any, message: str, exported: tuple[Any, Path, Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for file in exported[1].iterdir():
        (checkpoint / file.name).write_bytes(file.read_bytes())
    damage(checkpoint)
    with pytest.raises(InvalidInputError, match=message):
        export(checkpoint, tmp_path / "exported")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
