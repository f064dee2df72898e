"""Models that accelerate spreads over devices, with a plan applied."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from places import SAMPLES  # noqa: E402

import hetc  # noqa: E402
from hetc.base.errors import RuntimeMissingError  # noqa: E402
from hetc.huggingface.live import live_model  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.huggingface.live.forward import model_generate, model_predict  # noqa: E402
from hetc.huggingface.live.live_model import open_model  # noqa: E402
from hetc.huggingface.live.programmings import Programmings  # noqa: E402
from hetc.plan.plan import Plan  # noqa: E402

SAMPLE = SAMPLES / "tiny_moe"
needs_accelerate = pytest.mark.skipif(
    util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("spread") / "bundle"
    analog = ["layers.*.attention", "lm_head"]
    return hetc.compile(SAMPLE / "model.onnx", folder, digital_frac=0.25, analog=analog).plan


def measured(model: Any, plan: Plan, **choices: Any) -> tuple[np.ndarray, list[int]]:
    """Losses of a short window, and a continuation."""
    tokens = np.load(SAMPLE / "heldout.npz")["tokens"].reshape(-1)[:24].astype(np.int64)
    with apply_plan(model, plan, **choices):
        return model_predict(model)(tokens[None])[0], list(model_generate(model)(tokens.tolist(), 3))


@needs_accelerate
def test_hooks_and_plans_hold_together(plan: Plan, tmp_path: Path) -> None:
    """Layers whose weights are on the disk until accelerate's hooks bring them."""
    layers = {f"model.layers.{index}": "disk" if index % 2 else "cpu" for index in range(4)}
    spread = transformers.AutoModelForCausalLM.from_pretrained(
        SAMPLE,
        dtype=torch.float32,
        device_map={**layers, "model.embed_tokens": "disk", "model.norm": "cpu", "model.rotary_emb": "cpu"}
        | {"lm_head": "disk"},
        offload_folder=tmp_path / "offload",
    ).eval()
    assert any(one.is_meta for one in spread.parameters())
    before = {id(one): vars(one).get("_old_forward") for one in spread.modules()}
    expected = measured(open_model(SAMPLE), plan)
    for low_memory in (False, True):
        programmings = Programmings(2**30)
        for _ in range(2):
            losses, text = measured(spread, plan, programmings=programmings, low_memory=low_memory)
            np.testing.assert_allclose(losses, expected[0], atol=1e-5)
            assert text == expected[1]
    after = {id(one): vars(one).get("_old_forward") for one in spread.modules()}
    assert after == before
    assert any(value is not None for value in after.values())


@needs_accelerate
def test_auto_opens_a_model(plan: Plan) -> None:
    losses, text = measured(open_model(SAMPLE, "auto"), plan, mode="exact")
    expected = measured(open_model(SAMPLE), plan, mode="exact")
    np.testing.assert_allclose(losses, expected[0], atol=1e-3)
    assert text == expected[1]


def test_accelerate_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_model, "find_spec", lambda name: None)
    with pytest.raises(RuntimeMissingError, match="pip install accelerate"):
        open_model(SAMPLE, "auto")
