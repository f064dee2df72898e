"""DeepSeekMoE-16B's format, which transformers doesn't know, against an implementation in plain torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402
from test_export import MASK, POSITIONS, TOLERANCE, experts_of, run  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402

LAYERS, HIDDEN, HEADS, EXPERTS, CHOICES, WIDTH, SHARED, DENSE = 3, 32, 4, 8, 3, 16, 2, 48
VOCABULARY = 101
# As the published config.json has it, code of its own included.
CONFIG: dict[str, Any] = {
    "architectures": ["DeepseekForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekConfig",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekForCausalLM",
    },
    "attention_bias": False,
    "aux_loss_alpha": 0.001,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": DENSE,
    "max_position_embeddings": 64,
    "model_type": "deepseek",
    "moe_intermediate_size": WIDTH,
    "moe_layer_freq": 1,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": SHARED,
    "norm_topk_prob": False,
    "num_attention_heads": HEADS,
    "num_experts_per_tok": CHOICES,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": HEADS,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000,
    "scoring_func": "softmax",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
Weights = dict[str, Any]


def random_weights() -> Weights:
    torch.manual_seed(0)

    def matrix(*shape: int) -> Any:
        return torch.randn(shape) * 0.15

    def mlp(path: str, width: int) -> Weights:
        return {
            f"{path}.gate_proj.weight": matrix(width, HIDDEN),
            f"{path}.up_proj.weight": matrix(width, HIDDEN),
            f"{path}.down_proj.weight": matrix(HIDDEN, width),
        }

    weights = {
        "model.embed_tokens.weight": torch.randn(VOCABULARY, HIDDEN),
        "model.norm.weight": torch.rand(HIDDEN) + 0.5,
        "lm_head.weight": matrix(VOCABULARY, HIDDEN),
    }
    for layer in range(LAYERS):
        path = f"model.layers.{layer}"
        weights |= {f"{path}.self_attn.{name}_proj.weight": matrix(HIDDEN, HIDDEN) for name in "qkvo"}
        weights |= {
            f"{path}.{name}.weight": torch.rand(HIDDEN) + 0.5
            for name in ("input_layernorm", "post_attention_layernorm")
        }
        if layer == 0:
            weights |= mlp(f"{path}.mlp", DENSE)
            continue
        weights[f"{path}.mlp.gate.weight"] = matrix(EXPERTS, HIDDEN) * 5
        weights |= mlp(f"{path}.mlp.shared_experts", SHARED * WIDTH)
        for expert in range(EXPERTS):
            weights |= mlp(f"{path}.mlp.experts.{expert}", WIDTH)
    return weights


def save(weights: Weights, folder: Path, dtype: Any, **changes: Any) -> Weights:
    """Write two shards; the weights as float32 of what was written."""
    folder.mkdir()
    stored = {name: tensor.to(dtype).contiguous() for name, tensor in weights.items()}
    files = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(stored)}
    for file in set(files.values()):
        save_file({name: stored[name] for name in stored if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return {name: tensor.float() for name, tensor in stored.items()}


def rotate(x: Any, positions: Any) -> Any:
    width = x.shape[-1]
    angle = positions[:, None, :, None] / 10000 ** (torch.arange(0, width, 2) / width)
    cosine, sine = (torch.cat((part, part), dim=-1) for part in (angle.cos(), angle.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def logits(weights: Weights, ids: Any, mask: Any, positions: Any, normalised: bool) -> Any:
    """The model, written from the paper's formulas, token by token and expert by expert where it routes."""

    def norm(x: Any, name: str) -> Any:
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * weights[f"{name}.weight"]

    def mlp(x: Any, path: str) -> Any:
        gate, up, down = (weights[f"{path}.{name}_proj.weight"] for name in ("gate", "up", "down"))
        return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T

    def attention(x: Any, path: str) -> Any:
        query, key, value = (
            (x @ weights[f"{path}.{name}_proj.weight"].T).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for name in "qkv"
        )
        scores = rotate(query, positions) @ rotate(key, positions).mT / (HIDDEN / HEADS) ** 0.5
        length = ids.shape[1]
        seen = torch.ones(length, length).tril().bool() & mask[:, None, None, :].bool()
        mixed = scores.masked_fill(~seen, -1e9).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(2) @ weights[f"{path}.o_proj.weight"].T

    def experts(x: Any, path: str) -> Any:
        y = mlp(x, f"{path}.shared_experts")
        for place in np.ndindex(*x.shape[:2]):
            scores = (x[place] @ weights[f"{path}.gate.weight"].T).softmax(-1)
            best, chosen = scores.topk(CHOICES)
            if normalised:
                best = best / best.sum()
            for score, expert in zip(best, chosen, strict=True):
                y[place] += score * mlp(x[place], f"{path}.experts.{expert}")
        return y

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(LAYERS):
        path = f"model.layers.{layer}"
        x = x + attention(norm(x, f"{path}.input_layernorm"), f"{path}.self_attn")
        inner = norm(x, f"{path}.post_attention_layernorm")
        x = x + (experts(inner, f"{path}.mlp") if layer else mlp(inner, f"{path}.mlp"))
    return norm(x, "model.norm") @ weights["lm_head.weight"].T


@pytest.mark.parametrize(
    ("dtype", "normalised"),
    [
        pytest.param(torch.float32, False, marks=pytest.mark.slow),
        (torch.bfloat16, False),
        pytest.param(torch.float32, True, marks=pytest.mark.slow),
    ],
)
def test_exported_model_equals_plain_torch(dtype: Any, normalised: bool, tmp_path: Path) -> None:
    weights = save(random_weights(), tmp_path / "checkpoint", dtype, norm_topk_prob=normalised)
    path = export(tmp_path / "checkpoint", tmp_path / "exported")
    ids = np.random.default_rng(0).integers(0, VOCABULARY, MASK.shape)
    expected = logits(weights, *(torch.from_numpy(one) for one in (ids, MASK, POSITIONS)), normalised).numpy()
    real = MASK.astype(bool)
    assert np.abs(expected[real]).max() > 1
    for chunks in ([7], [1] * 7, [3, 4]):
        assert np.abs(run(path, ids, chunks) - expected)[real].max() <= TOLERANCE, chunks

    proto = onnx.load(path, load_external_data=False)
    names = [f"layers.{layer}.experts.{expert}" for layer in (1, 2) for expert in range(EXPERTS)]
    assert [node.name for node in experts_of(proto)] == names
    external = {one.name for one in proto.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL}
    assert external == set(weights)
    assert (path.parent / "genai_config.json").exists()


def test_other_scores_are_refused(tmp_path: Path) -> None:
    save(random_weights(), tmp_path / "checkpoint", torch.float32, scoring_func="sigmoid")
    with pytest.raises(InvalidInputError, match="scoring_func is 'sigmoid'"):
        export(tmp_path / "checkpoint", tmp_path / "exported")
