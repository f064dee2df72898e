"""onnxruntime-genai runs a bundle as it is: the same tokens as our own session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import SAMPLE

import hetc
from hetc.bundle.bundle import Bundle
from hetc.evaluation.generate import generate_tokens

genai = pytest.importorskip("onnxruntime_genai")

PROMPT = [5, 77, 300, 12, 9, 44]
NEW_TOKENS = 24
LOUD = {"hetc.noise_scale": "10", "hetc.seed": "3"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("genai") / "tiny_moe.hetc"
    return hetc.compile(SAMPLE / "model.onnx", folder, digital_frac=0.25)


def generate(folder: Path, **entries: str) -> list[int]:
    """Greedy tokens; `entries` go into the session options, next to the bundle's library."""
    config = genai.Config(str(folder))
    options = {"intra_op_num_threads": 1, **entries}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = genai.Model(config)
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(PROMPT) + NEW_TOKENS)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(PROMPT)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)][len(PROMPT) :]


def test_exact_mode_generates_the_tokens_of_our_session(bundle: Bundle) -> None:
    ours = list(generate_tokens(bundle.session(mode="exact", threads=1), PROMPT, NEW_TOKENS))
    assert len(ours) == NEW_TOKENS
    assert generate(bundle.path, **{"hetc.mode": "exact"}) == ours


def test_noisy_mode_is_reproducible_and_reads_the_seed(bundle: Bundle) -> None:
    session = bundle.session(noise_scale=10, seed=3, threads=1)
    noisy = generate(bundle.path, **LOUD)
    assert noisy == generate(bundle.path, **LOUD)
    assert noisy == list(generate_tokens(session, PROMPT, NEW_TOKENS))
    assert noisy != generate(bundle.path, **{**LOUD, "hetc.seed": "4"})


def test_an_unknown_entry_is_refused(bundle: Bundle) -> None:
    with pytest.raises(Exception, match=r"hetc\.sed is not known"):
        generate(bundle.path, **{"hetc.sed": "3"})
