"""Losses are those of the softmax, do not depend on the batch, and need a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from places import ROOT

from hetc.base.errors import InvalidInputError
from hetc.evaluation.generate import generate_tokens
from hetc.evaluation.likelihood import mean_loss, session_forward, session_predict, token_losses
from hetc.evaluation.score_texts import Text, score_texts


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


@pytest.fixture
def encoder_decoder(tmp_path: Path) -> onnxruntime.InferenceSession:
    """Foretells the sum of its source and of the last token written, over 7, with a margin of 3."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", name])
        for name in ("input_ids", "decoder_input_ids")
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "decoder_input_ids", 7])
    constants = {"axis": np.array([1]), "seven": np.array(7), "range": np.array([0.0, 3.0], np.float32)}
    nodes = [
        helper.make_node("ReduceSum", ["input_ids", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "decoder_input_ids"], ["total"]),
        helper.make_node("Mod", ["total", "seven"], ["next"]),
        helper.make_node("OneHot", ["next", "seven", "range"], ["logits"]),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ids, [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "config.json").write_text('{"decoder_start_token_id": 5}')
    return onnxruntime.InferenceSession(tmp_path / "m.onnx")


def test_an_encoder_decoder_foretells_the_second_half(
    encoder_decoder: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    # The source [1, 2, 0] has the sum 3: after 5 comes 1, then 4, 0 and 3.
    windows = np.array([[1, 2, 0, 1, 4, 0, 3], [1, 2, 0, 1, 4, 0, 4]])
    losses, hits = session_predict(encoder_decoder, tmp_path)(windows)
    right, wrong = np.log(np.exp(3) + 6) - 3, np.log(np.exp(3) + 6)
    np.testing.assert_allclose(losses, [[right] * 4, [right] * 3 + [wrong]], rtol=1e-6)
    assert hits.tolist() == [[True] * 4, [True] * 3 + [False]]
    written = generate_tokens(encoder_decoder, [1, 2, 0], 9, end=frozenset([3]), folder=tmp_path)
    assert list(written) == [1, 4, 0]
    with pytest.raises(InvalidInputError, match="windows of 2 tokens or more"):
        session_predict(encoder_decoder, tmp_path)(windows[:, :1])
    with pytest.raises(InvalidInputError, match="decoder_start_token_id"):
        session_predict(encoder_decoder)
    texts = [Text([1, 2, 0, 1, 4], 2)]
    with pytest.raises(InvalidInputError, match="foretells half of a text"):
        score_texts(session_predict(encoder_decoder, tmp_path), texts, padding=0)


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
