"""The trained sample, compiled and run: what a user relies on."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import SAMPLE

import hetc
from hetc.base.errors import InvalidInputError, UsageError
from hetc.bundle.bundle import Bundle
from hetc.bundle.verify import verify
from hetc.evaluation.generate import generate_tokens
from hetc.model.inputs import first_step, next_step
from hetc.runtimes.onnxruntime.session import open_session

TOKENS = np.load(SAMPLE / "heldout.npz")["tokens"][:512].reshape(4, 128).astype(np.int64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("sample") / "tiny_moe.hetc"
    return hetc.compile(SAMPLE / "model.onnx", output, digital_frac=0.25, analog=["layers.0.attention"])


def logits(session: onnxruntime.InferenceSession, tokens: np.ndarray = TOKENS) -> np.ndarray:
    return session.run(["logits"], first_step(session, tokens))[0]


def test_the_sample_has_learned() -> None:
    values = logits(open_session(SAMPLE / "model.onnx", library=False))
    assert (values[:, :-1].argmax(-1) == TOKENS[:, 1:]).mean() >= 0.4


def test_deepseek_sample_keeps_its_dense_layer_and_shared_experts_digital(tmp_path: Path) -> None:
    source = SAMPLE.with_name("tiny_deepseek") / "model.onnx"
    values = logits(open_session(source, library=False))
    assert (values[:, :-1].argmax(-1) == TOKENS[:, 1:]).mean() >= 0.35
    bundle = hetc.compile(source, tmp_path / "bundle", digital_frac=0)
    digital = {unit.id for unit in bundle.plan.units if unit.rule == "densely-activated"}
    assert {"layers.0.mlp", "layers.1.shared_expert", "layers.4.attention", "lm_head"} <= digital
    assert np.abs(logits(bundle.session(mode="exact")) - values).max() <= 1e-4


def test_exact_mode_is_the_source(bundle: Bundle) -> None:
    source = logits(open_session(SAMPLE / "model.onnx", library=False))
    assert np.abs(logits(bundle.session(mode="exact")) - source).max() <= 1e-4


def test_one_seed_gives_one_result_whatever_the_threads(bundle: Bundle) -> None:
    one, two = (logits(bundle.session(seed=5, threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_one_seed_gives_one_result_in_two_processes(bundle: Bundle) -> None:
    script = (
        "import hashlib, sys; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/helpers']\n"
        "from pathlib import Path\n"
        "import hetc, test_end_to_end as here\n"
        "values = here.logits(hetc.load_bundle(sys.argv[2]).session(seed=5))\n"
        "print(hashlib.sha256(values.tobytes()).hexdigest())\n"
    )
    arguments = [sys.executable, "-c", script, Path(__file__).parent, bundle.path]
    other = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(logits(bundle.session(seed=5)).tobytes()).hexdigest()


def test_sessions_keep_their_own_seed_in_any_order(bundle: Bundle) -> None:
    alone = [logits(bundle.session(seed=seed)) for seed in (1, 2)]
    assert not np.array_equal(alone[0], alone[1])
    for order in ((1, 2), (2, 1)):
        together = {seed: bundle.session(seed=seed) for seed in order}
        for seed in (2, 1):
            np.testing.assert_array_equal(logits(together[seed]), alone[seed - 1])


def test_rows_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    session = bundle.session(mode="noisy", noise_scale=4)
    whole, single = logits(session), logits(session, TOKENS[2:3])
    # The digital part is ONNX Runtime's, whose sums may differ in the last bits and flip a DAC code.
    assert np.abs(whole[2:3] - single).mean() < 1e-2


def test_cached_steps_continue_the_prefill(bundle: Bundle) -> None:
    session = bundle.session(mode="exact")
    names = [value.name for value in session.get_outputs()]
    whole = logits(session)
    feeds = first_step(session, TOKENS[:, :100])
    for position in range(100, 104):
        outputs = dict(zip(names, session.run(None, feeds), strict=True))
        assert np.abs(outputs["logits"][:, -1] - whole[:, position - 1]).max() < 1e-4
        feeds = next_step(feeds, outputs, TOKENS[:, position : position + 1])


def test_generation_is_greedy(bundle: Bundle) -> None:
    session = bundle.session(mode="exact")
    prompt = TOKENS[0, :20].tolist()
    tokens = list(generate_tokens(session, prompt, 6))
    values = logits(session, np.array([prompt + tokens]))
    assert tokens == values[0, 19:-1].argmax(-1).tolist()


def test_digital_share_rises_per_session(tmp_path: Path) -> None:
    swept = hetc.compile(SAMPLE / "model.onnx", tmp_path / "swept", digital_frac=0)
    half = hetc.compile(SAMPLE / "model.onnx", tmp_path / "half", digital_frac=0.5)
    np.testing.assert_allclose(
        logits(swept.session(digital_frac=0.5, noise_scale=8)),
        logits(half.session(noise_scale=8)),
        atol=1e-3,
    )
    np.testing.assert_array_equal(logits(swept.session(digital_frac=1)), logits(swept.session(mode="exact")))
    with pytest.raises(UsageError, match=r"below the 0\.5"):
        half.session(digital_frac=0.25)


def test_more_noise_costs_more_and_attention_costs_most(tmp_path: Path) -> None:
    experts = hetc.compile(SAMPLE / "model.onnx", tmp_path / "experts", digital_frac=0)
    attention = hetc.compile(
        SAMPLE / "model.onnx", tmp_path / "attention", digital_frac=0, analog=["layers.*.attention"]
    )

    def loss(session: onnxruntime.InferenceSession) -> float:
        values = logits(session)[:, :-1]
        chosen = np.take_along_axis(values, TOKENS[:, 1:, None], axis=-1)[..., 0]
        return float((np.logaddexp.reduce(values, axis=-1) - chosen).mean())

    clean = loss(experts.session(mode="exact"))
    noisy, noisier = (loss(experts.session(noise_scale=scale)) for scale in (4, 8))
    assert clean < noisy < noisier < loss(attention.session(noise_scale=8))


def test_a_model_in_memory_has_no_source_to_verify(tmp_path: Path) -> None:
    # A sweep of another test may link the sample's weights meanwhile: onnx reads no hard-linked files.
    source = shutil.copytree(SAMPLE, tmp_path / "source")
    bundle = hetc.compile(onnx.load(source / "model.onnx"), tmp_path / "memory")
    checks = {check.name: check.status for check in verify(bundle, SAMPLE / "model.onnx", seeds=2)}
    assert checks.pop("exact mode = source") == "not run"
    assert set(checks.values()) == {"ok"}


def test_wrong_inputs_are_refused(bundle: Bundle) -> None:
    session = bundle.session()
    feeds = first_step(session, TOKENS)
    with pytest.raises(Exception, match="int64"):
        session.run(None, {**feeds, "input_ids": TOKENS.astype(np.float32)})
    with pytest.raises(Exception, match="attention_mask"):
        session.run(None, {**feeds, "attention_mask": np.ones((4, 3, 2), np.int64)})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"mode": "loud"}, "loud"),
        ({"store": "int4"}, "int4"),
        ({"seed": -1}, "seed"),
        ({"noise_scale": -1.0}, "noise_scale"),
        ({"digital_frac": 2}, "between 0 and 1"),
    ],
)
def test_wrong_choices_are_refused(bundle: Bundle, choice: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bundle.session(**choice)  # type: ignore[arg-type]


def test_a_damaged_model_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((bundle.path / "model.onnx").read_bytes()[:1000])
    with pytest.raises(InvalidInputError, match=r"model\.onnx"):
        open_session(tmp_path / "model.onnx")
