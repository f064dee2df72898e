"""Clean weights of what was programmed leave their device, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from live_models import DEVICE, FAMILIES, tiny_model  # noqa: E402
from live_plans import live_plan  # noqa: E402

from hetc.hardware.profile import Profile  # noqa: E402
from hetc.huggingface.experts import experts_modules  # noqa: E402
from hetc.huggingface.live import apply  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.huggingface.live.programmings import Programmings  # noqa: E402

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 53, (2, 8))).to(DEVICE)


def logits(model: Any) -> np.ndarray:
    with torch.inference_mode():
        return model(TOKENS, use_cache=False).logits.float().cpu().numpy()


def held(model: Any) -> dict[str, int]:
    """Bytes that each parameter holds."""
    return {name: one.untyped_storage().nbytes() for name, one in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernels", [False, True])
def test_weights_leave_and_come_back(family: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels:
        pytest.importorskip("triton")
    monkeypatch.setattr(apply, "kernels_run", lambda device, settings: kernels)
    model = tiny_model(family)
    plan = live_plan(model, Profile(tile_rows=10), digital_frac=0.25, dense=("attention", "lm_head"))
    clean, before = logits(model), held(model)
    objects = dict(model.named_parameters())
    with apply_plan(model, plan, mode="converters"):
        expected = logits(model)
    programmings = Programmings(2**30)
    for fraction in (0.25, 0.25, 1):  # the second finds what the first programmed
        with apply_plan(
            model, plan, mode="converters", digital_frac=fraction, programmings=programmings, low_memory=True
        ):
            found = logits(model), logits(model)
            within = held(model)
        np.testing.assert_array_equal(*found)
        assert held(model) == before
        if fraction == 1:
            continue
        np.testing.assert_array_equal(found[0], expected)
        left = {name for name in before if within[name] < before[name]}
        [(path, _)] = experts_modules(model)
        stacks = {f"{path}.{name}" for name in ("gate_up_proj", "down_proj")}
        assert all(within[name] == before[name] // 4 for name in stacks)  # the digital one of four
        assert left - stacks == {name for name in before if name.endswith(("_proj.weight", "lm_head.weight"))}
        assert all(within[name] == 0 for name in left - stacks)
    assert all(one is objects[name] for name, one in model.named_parameters())
    np.testing.assert_array_equal(logits(model), clean)


def test_a_tied_head_stays() -> None:
    """Its weights are the embedding's."""
    model = tiny_model("olmoe", tie_word_embeddings=True)
    plan = live_plan(model, Profile(), dense=("lm_head",))
    before = held(model)
    with apply_plan(model, plan, mode="converters", low_memory=True):
        logits(model)
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert held(model)["model.embed_tokens.weight"] == before["model.embed_tokens.weight"]


def test_weights_come_back_after_an_error() -> None:
    model = tiny_model("olmoe")
    before = held(model)
    with (
        pytest.raises(KeyError),
        apply_plan(model, live_plan(model, Profile()), mode="converters", low_memory=True),
    ):
        logits(model)
        assert held(model) != before
        raise KeyError
    assert held(model) == before
    assert not any("forward" in vars(module) for module in model.modules())
