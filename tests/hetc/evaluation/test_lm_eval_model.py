"""lm-eval's own command line runs a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import SAMPLES

pytest.importorskip("lm_eval")

import hetc
from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.evaluation.lm_eval_model import HetcModel
from hetc.evaluation.running import running
from hetc.evaluation.tasks import LanguageModel

REQUEST = (("", ""), [5, 77, 300], [12, 9])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return hetc.compile(SAMPLES / "tiny_moe/model.onnx", tmp_path_factory.mktemp("lm") / "a.hetc")


def made(arguments: str) -> HetcModel:
    """As lm-eval makes it from `--model_args`, with what it adds to each."""
    model = HetcModel.create_from_arg_string(arguments, {"batch_size": 1, "device": None})
    assert isinstance(model, HetcModel)
    return model


def test_arguments_choose_how_it_runs(bundle: Bundle) -> None:
    asked = made(f"bundle={bundle.path},mode=noisy,seed=3,noise_scale=4")
    with running(bundle, mode="noisy", seed=3, noise_scale=4) as ours:
        expected = LanguageModel(ours.predict, ours.generate, ours.folder)._loglikelihood_tokens([REQUEST])
    assert asked._loglikelihood_tokens([REQUEST]) == expected
    assert made(f"bundle={bundle.path},mode=exact")._loglikelihood_tokens([REQUEST]) != expected


def test_a_wrong_argument_is_named(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="sede: not known"):
        made(f"bundle={bundle.path},sede=3")


def test_the_module_adds_it_to_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval import __main__ as harness
    from lm_eval.api.registry import get_model

    from hetc.evaluation import lm_eval_model

    monkeypatch.setattr(harness, "cli_evaluate", lambda: None)
    lm_eval_model.main()
    assert get_model("hetc") is HetcModel


def test_the_bundle_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        made(f"bundle={tmp_path / 'none'}")
