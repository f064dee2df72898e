"""What a user's model is fed, and which inputs are refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLE, hetc
from models import saved_moe_model

from hetc.base.errors import InvalidInputError
from hetc.model.inputs import first_step, is_encoder_decoder, next_step, prompt_shape

TOKENS = np.array([[3, 1, 4], [1, 5, 9]])


@dataclass(frozen=True)
class Input:
    name: str
    shape: list[Any]
    type: str = "tensor(int64)"


class Session:
    """Declares inputs as ONNX Runtime's session does."""

    def __init__(self, *inputs: Input) -> None:
        self.inputs = [Input("input_ids", ["batch", "sequence"]), *inputs]

    def get_inputs(self) -> list[Input]:
        return self.inputs

    def get_outputs(self) -> list[Input]:
        return [Input("logits", ["batch", "sequence", 10])]


def cache(*shape: Any) -> Session:
    return Session(Input("past_key_values.0.key", list(shape), "tensor(float)"))


def test_inputs_with_a_documented_default() -> None:
    session = Session(
        Input("cache_position", ["sequence"]),
        Input("token_type_ids", ["batch", "sequence"]),
        Input("num_logits_to_keep", []),
        Input("position_ids", ["batch", "sequence"]),
    )
    feeds = first_step(session, TOKENS)
    assert feeds["cache_position"].tolist() == [0, 1, 2]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0]] * 2
    assert (feeds["num_logits_to_keep"].shape, int(feeds["num_logits_to_keep"])) == ((), 0)
    feeds["past_key_values.0.key"] = np.zeros(1)
    step = next_step(feeds, {"present.0.key": np.ones(1)}, TOKENS[:, :1])
    assert step["cache_position"].tolist() == [3]
    assert step["position_ids"].tolist() == [[3], [3]]
    assert step["token_type_ids"].shape == (2, 1)
    assert step["past_key_values.0.key"].tolist() == [1]


def test_several_tokens_after_rows_of_the_step_before() -> None:
    session = Session(
        Input("cache_position", ["sequence"]),
        Input("token_type_ids", ["batch", "sequence"]),
        Input("attention_mask", ["batch", "total"]),
        Input("position_ids", ["batch", "sequence"]),
    )
    more, rows = np.arange(6).reshape(3, 2), np.array([1, 0, 1])
    feeds = first_step(session, TOKENS) | {"past.0.key": np.zeros(2)}
    step = next_step(feeds, {"present.0.key": np.arange(2)}, more, rows)
    assert step["input_ids"].tolist() == more.tolist()
    assert step["cache_position"].tolist() == [3, 4]
    assert step["position_ids"].tolist() == [[3, 4]] * 3
    assert step["token_type_ids"].tolist() == [[0, 0]] * 3
    assert step["attention_mask"].tolist() == [[1] * 5] * 3
    assert step["past.0.key"].tolist() == [1, 0, 1]


def test_the_state_of_a_convolution_begins_with_zeros() -> None:
    session = Session(Input("past.0.conv", ["batch", 4, 2], "tensor(float)"))
    feeds = first_step(session, TOKENS)
    assert feeds["past.0.conv"].tolist() == np.zeros((2, 4, 2)).tolist()
    step = next_step(feeds, {"present.0.conv": np.ones((2, 4, 2))}, TOKENS[:, :1])
    assert step["past.0.conv"].sum() == 16


def test_a_prompt_of_text_alone_has_no_image_features() -> None:
    session = Session(
        Input("position_ids", [3, "batch", "sequence"]),
        Input("image_features", ["image_tokens", 8], "tensor(float)"),
        Input("deepstack_features", [2, "image_tokens", 8], "tensor(float)"),
    )
    feeds = first_step(session, TOKENS)
    assert feeds["image_features"].shape == (0, 8)
    assert feeds["deepstack_features"].shape == (2, 0, 8)
    assert feeds["position_ids"].tolist() == [[[0, 1, 2]] * 2] * 3
    step = next_step(feeds, {}, TOKENS[:1, :2], np.array([1]))
    assert step["position_ids"].tolist() == [[[3, 4]]] * 3
    assert step["image_features"].shape == (0, 8)


def test_an_encoder_decoder_is_fed_what_it_has_written() -> None:
    session = Session(Input("decoder_input_ids", ["batch", "target"]))
    assert is_encoder_decoder(session) and not is_encoder_decoder(Session())
    assert first_step(session, TOKENS)["decoder_input_ids"].tolist() == TOKENS.tolist()
    written = first_step(session, TOKENS, written=TOKENS[:, :1])["decoder_input_ids"]
    assert written.tolist() == TOKENS[:, :1].tolist()


def test_a_model_without_tokens_gets_numbers_of_the_shapes_that_it_declares() -> None:
    session = Session(
        Input("times", ["batch"], "tensor(float)"), Input("pixels", ["batch", 3, "h", "w"], "tensor(float)")
    )
    del session.inputs[0]
    feeds = first_step(session, TOKENS, free=5)
    assert feeds["times"].shape == (5,)
    assert feeds["pixels"].shape == (5, 3, 224, 224)
    assert feeds["pixels"].std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (Input("pixel_values", ["batch", 3, 8, 8], "tensor(float)"), "input 'pixel_values'"),
        (Input("use_cache_branch", [1], "tensor(bool)"), "input 'use_cache_branch'"),
        (Input("texts", ["n"], "tensor(string)"), r"input 'texts' is tensor\(string\)"),
        (Input("attention_mask", ["batch", 1, "s", "s"]), "input 'attention_mask' is declared"),
        (Input("position_ids", [2, "batch", "s"]), "input 'position_ids' is declared"),
    ],
)
def test_an_unknown_input_is_refused_by_name(unknown: Input, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        first_step(Session(unknown), TOKENS)


def test_a_negative_token_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="token -100"):
        first_step(Session(), np.array([[1, -100]]))


def test_cache_sizes_are_declared_or_looked_up(tmp_path: Path) -> None:
    assert first_step(cache("batch", 4, "past", 8), TOKENS)["past_key_values.0.key"].shape == (2, 4, 0, 8)
    nameless = cache("batch", "heads", "past", "width")
    with pytest.raises(InvalidInputError, match=r"'past_key_values\.0\.key' .* has free sizes"):
        first_step(nameless, TOKENS)
    decoder = {"head_size": 8, "num_key_value_heads": 2}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"decoder": decoder}}))
    assert first_step(nameless, TOKENS, tmp_path)["past_key_values.0.key"].shape == (2, 2, 0, 8)


def test_a_static_cache_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a cache of 128 tokens, whose length can't change"):
        first_step(cache(1, 4, 128, 8), TOKENS[:1])


def test_a_window_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text('{"model": {"context_length": 2, "decoder": {}}}')
    with pytest.raises(InvalidInputError, match="3 tokens in a row are more than the 2"):
        first_step(Session(), TOKENS, tmp_path)


def test_a_damaged_genai_config_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"model": []}', '{"model": {"decoder": 3}}', "[" * 100_000):
        (tmp_path / "genai_config.json").write_text(text)
        with pytest.raises(InvalidInputError, match=r"genai_config\.json"):
            first_step(Session(), TOKENS, tmp_path)


def test_declared_shapes_decide_what_is_fed_at_a_time() -> None:
    session = Session()
    session.inputs[0] = Input("input_ids", ["sequence"])
    assert prompt_shape(session, 8, 64) == (1, 64)
    assert first_step(session, TOKENS[:1])["input_ids"].tolist() == [3, 1, 4]
    session.inputs[0] = Input("input_ids", [2, 16])
    assert prompt_shape(session, 8, 64) == (2, 16)
    with pytest.raises(
        InvalidInputError, match=r"'input_ids' is declared \[2, 16\], but is to take \[2, 3\]"
    ):
        first_step(session, TOKENS)


def test_a_model_of_one_sequence_is_verified_and_calibrated(tmp_path: Path) -> None:
    """Its `input_ids` are `[T]`."""
    path = saved_moe_model(tmp_path)
    assert hetc("compile", path, "-o", "out.hetc", cwd=tmp_path).returncode == 0
    verified = hetc("verify", "out.hetc", "--source", path, cwd=tmp_path)
    assert verified.returncode == 0, verified.stderr + verified.stdout
    np.savez(tmp_path / "tokens.npz", tokens=np.arange(22) % 11)
    options = ["--data", "tokens.npz", "--window", "11", "-o", "c.safetensors"]
    assert hetc("calibrate", path, *options, cwd=tmp_path).returncode == 0
    tuned = hetc("tune", "out.hetc", "--data", "tokens.npz", "--window", "11", cwd=tmp_path)
    assert "Traceback" not in tuned.stderr, tuned.stderr


def test_a_token_that_the_model_lacks_is_refused_by_every_command(tmp_path: Path) -> None:
    np.savez(tmp_path / "tokens.npz", tokens=np.full(64, 10**6))
    bundle = tmp_path / "bundle"
    assert hetc("compile", SAMPLE / "model.onnx", "-o", bundle).returncode == 0
    data = ("--data", tmp_path / "tokens.npz", "--window", 32)
    for command in (
        ("calibrate", SAMPLE / "model.onnx", *data, "-o", tmp_path / "out"),
        ("mitigate", SAMPLE / "model.onnx", *data, "--smooth", 0.5, "-o", tmp_path / "out"),
        ("tune", bundle, *data),
    ):
        done = hetc(*command)
        assert done.returncode == 3, done.stderr
        assert "has token 1000000, but the model knows" in done.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == {"tokens.npz", "bundle"}
