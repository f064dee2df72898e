"""MoE language models as people write them in Keras and JAX, exported by Keras and jax2onnx.

There is one family for both, "plain": attention, and experts that each compute every token, scaled by the
probability that the router gave them. Its weights are the framework's own random ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["EXPORTERS"]

VOCABULARY, HIDDEN, INTER, EXPERTS, TOP_K, LAYERS, TOKENS = 101, 32, 16, 4, 2, 2, 8


def _keras(folder: Path, *, loop: bool) -> Path:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers, ops

    class Experts(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            del shape
            for name, size in (("gate", (HIDDEN, INTER)), ("up", (HIDDEN, INTER)), ("down", (INTER, HIDDEN))):
                setattr(self, name, self.add_weight((EXPERTS, *size), "glorot_uniform", name=name))
            self.router = self.add_weight((HIDDEN, EXPERTS), "glorot_uniform", name="router")

        def call(self, x: Any) -> Any:
            weights, chosen = ops.top_k(ops.softmax(ops.matmul(x, self.router)), TOP_K)
            shares = ops.sum(ops.expand_dims(weights, -1) * ops.one_hot(chosen, EXPERTS), -2)
            if not loop:
                inner = ops.silu(ops.einsum("bth,ehi->beti", x, self.gate))
                inner = inner * ops.einsum("bth,ehi->beti", x, self.up)
                return ops.einsum("beti,eih,bte->bth", inner, self.down, shares)
            sums = 0.0
            for e in range(EXPERTS):
                inner = ops.silu(ops.matmul(x, self.gate[e])) * ops.matmul(x, self.up[e])
                sums = sums + shares[..., e : e + 1] * ops.matmul(inner, self.down[e])
            return sums

    keras.utils.set_random_seed(0)
    ids = keras.Input((TOKENS,), dtype="int32", name="input_ids")
    x = layers.Embedding(VOCABULARY, HIDDEN)(ids)
    for _ in range(LAYERS):
        normed = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, HIDDEN // 4)(normed, normed, use_causal_mask=True)
        x = x + Experts()(layers.LayerNormalization()(x))
    logits = layers.Dense(VOCABULARY, name="logits")(layers.LayerNormalization()(x))
    path = folder / "model.onnx"
    model = keras.Model(ids, logits)
    model(np.zeros((1, TOKENS), np.int32))
    model.export(str(path), format="onnx", verbose=False)
    return path


def _jax(folder: Path, *, loop: bool) -> Path:
    import jax
    import jax.numpy as jnp
    import onnx
    from jax2onnx import to_onnx

    random = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return jnp.asarray(random.standard_normal(shape) / np.sqrt(shape[-2]), jnp.float32)

    table, head = weight(VOCABULARY, HIDDEN), weight(HIDDEN, VOCABULARY)
    parameters = [
        {
            **{name: weight(HIDDEN, HIDDEN) for name in ("q", "k", "v", "o")},
            "router": weight(HIDDEN, EXPERTS),
            "gate": weight(EXPERTS, HIDDEN, INTER),
            "up": weight(EXPERTS, HIDDEN, INTER),
            "down": weight(EXPERTS, INTER, HIDDEN),
        }
        for _ in range(LAYERS)
    ]

    def norm(x: Any) -> Any:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)

    def attention(x: Any, of: dict[str, Any]) -> Any:
        scores = (x @ of["q"]) @ jnp.swapaxes(x @ of["k"], -1, -2) / np.sqrt(HIDDEN)
        scores = jnp.where(jnp.tril(jnp.ones((TOKENS, TOKENS), bool)), scores, -1e9)
        return (jax.nn.softmax(scores, -1) @ (x @ of["v"])) @ of["o"]

    def experts(x: Any, of: dict[str, Any]) -> Any:
        weights, chosen = jax.lax.top_k(jax.nn.softmax(x @ of["router"], -1), TOP_K)
        shares = jnp.sum(weights[..., None] * jax.nn.one_hot(chosen, EXPERTS), -2)
        if not loop:
            inner = jax.nn.silu(jnp.einsum("bth,ehi->beti", x, of["gate"]))
            inner = inner * jnp.einsum("bth,ehi->beti", x, of["up"])
            return jnp.einsum("beti,eih,bte->bth", inner, of["down"], shares)
        sums = jnp.zeros_like(x)
        for e in range(EXPERTS):
            inner = jax.nn.silu(x @ of["gate"][e]) * (x @ of["up"][e])
            sums = sums + shares[..., e : e + 1] * (inner @ of["down"][e])
        return sums

    def model(input_ids: Any) -> Any:
        x = table[input_ids]
        for of in parameters:
            x = x + attention(norm(x), of)
            x = x + experts(norm(x), of)
        return norm(x) @ head

    exported = to_onnx(model, [jax.ShapeDtypeStruct((2, TOKENS), jnp.int32)], model_name="plain")
    exported.graph.input[0].name, old = "input_ids", exported.graph.input[0].name
    for node in exported.graph.node:
        node.input[:] = ["input_ids" if name == old else name for name in node.input]
    path = folder / "model.onnx"
    onnx.save(exported, path)
    return path


EXPORTERS: dict[str, Callable[[Path, Path], Path]] = {
    "Keras, a loop": lambda _, folder: _keras(folder, loop=True),
    "Keras, einsum": lambda _, folder: _keras(folder, loop=False),
    "jax2onnx, a loop": lambda _, folder: _jax(folder, loop=True),
    "jax2onnx, einsum": lambda _, folder: _jax(folder, loop=False),
}
