"""Losses are those of the softmax, do not depend on the batch, and need a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from places import ROOT

from hetc.base.errors import InvalidInputError
from hetc.evaluation.likelihood import mean_loss, session_forward, session_predict, token_losses


def bigram(tokens: np.ndarray) -> np.ndarray:
    """Logits that are known: each token predicts its successor with a margin of 2."""
    return 2 * np.eye(5, dtype=np.float32)[(tokens + 1) % 5]


def test_losses_are_those_of_the_softmax() -> None:
    windows = np.array([[0, 1, 2, 0], [4, 0, 1, 2], [3, 3, 3, 3]])
    right, wrong = np.log(np.exp(2) + 4) - 2, np.log(np.exp(2) + 4)
    expected = [[right, right, wrong], [right] * 3, [wrong] * 3]
    np.testing.assert_allclose(token_losses(bigram, windows, batch=2), expected, rtol=1e-12)
    assert mean_loss(bigram, windows) == pytest.approx(np.mean(expected))


def test_extreme_logits_give_finite_losses() -> None:
    losses = token_losses(lambda tokens: 1e4 * bigram(tokens), np.array([[0, 1, 0]]))
    np.testing.assert_allclose(losses, [[0, 2e4]])


def test_sample_loses_what_its_training_log_says_whatever_the_batch() -> None:
    session = onnxruntime.InferenceSession(ROOT / "samples/tiny_moe/model.onnx")
    windows = np.load(ROOT / "samples/tiny_moe/heldout.npz")["tokens"][:2048].reshape(-1, 256)
    one, many = (token_losses(session_forward(session), windows, batch=batch) for batch in (1, 8))
    np.testing.assert_allclose(one, many, atol=1e-4)
    assert 1.8 < one.mean() < 2.5  # 2.14 over all held-out tokens


@pytest.mark.parametrize("sample", ["tiny_moe", "tiny_deepseek"])
def test_a_shared_beginning_is_run_once(sample: str) -> None:
    session = onnxruntime.InferenceSession(ROOT / f"samples/{sample}/model.onnx")
    tokens = np.load(ROOT / f"samples/{sample}/heldout.npz")["tokens"].reshape(-1)[: 4 * 40].reshape(4, 40)
    tokens[2, :30] = tokens[0, :30]
    forward = session_forward(session)
    np.testing.assert_allclose(forward(tokens, 30), forward(tokens)[:, 30:], atol=1e-4)
    losses, hits = session_predict(session)(tokens, 30)
    whole = session_predict(session, batch=1)(tokens)
    np.testing.assert_allclose(losses, whole[0][:, 30:], atol=1e-4)
    np.testing.assert_array_equal(hits, whole[1][:, 30:])


def test_a_model_without_tokens_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InvalidInputError, match="input_ids"):
        session_forward(onnxruntime.InferenceSession(tmp_path / "m.onnx"))
