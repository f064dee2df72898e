"""A model has the same units, parameters, shares and noise whoever exported it, whatever was run over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from exporters import with_numbered_weights, with_torchscript_nodes
from models import moe_model

import hetc
from hetc.bundle.bundle import Bundle
from hetc.model.inputs import first_step
from hetc.operators.words import Mode
from hetc.runtimes.onnxruntime.run_model import run_model

TOKENS = np.random.default_rng(0).integers(3, 100, (2, 64))
ATTENTION: dict[str, Any] = {"analog": "layers.*.attention", "digital_frac": 1.0}
"""Attention alone is analog."""
LOSS_TOLERANCE = 1e-3
"""Nats; rounding before a converter may move single codes (docs/operators.md, "Agreement")."""


def compiled(model: Path | ir.Model, folder: Path, **choices: Any) -> Bundle:
    folder.mkdir(exist_ok=True)
    return hetc.compile(model, folder / "model.hetc", force=True, **choices)


def loss(bundle: Bundle, mode: Mode, tokens: np.ndarray = TOKENS) -> float:
    """Mean cross entropy of the next token."""
    session = bundle.session(mode=mode, seed=0, noise_scale=4.0)
    logits = run_model(session, None, first_step(session, tokens, bundle.path))[0].astype(np.float64)
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    following = tokens.reshape(logits.shape[:-1])[..., 1:, None]
    picked = np.take_along_axis(chances[..., :-1, :], following, -1)
    return float(-np.log(picked).mean())


def assert_same_noise(ours: Bundle, theirs: Bundle, tokens: np.ndarray = TOKENS) -> None:
    expected, clean = loss(ours, "noisy", tokens), loss(ours, "exact", tokens)
    assert abs(expected - clean) > 10 * LOSS_TOLERANCE, "the noise is too small to tell"
    assert abs(loss(theirs, "noisy", tokens) - expected) < LOSS_TOLERANCE


def reversed_weights(model: ir.Model) -> ir.Model:
    weights = dict(reversed(list(model.graph.initializers.items())))
    model.graph.initializers.clear()
    model.graph.initializers.update(weights)
    return model


def named_by_nodes(model: ir.Model) -> ir.Model:
    return with_numbered_weights(with_torchscript_nodes(model))


@pytest.mark.parametrize("change", [reversed_weights, named_by_nodes])
def test_the_same_noise_by_other_names_and_orders(
    change: Callable[[ir.Model], ir.Model], tmp_path: Path
) -> None:
    everything: dict[str, Any] = {"analog": "layers.*", "digital_frac": 0.0}
    ours = compiled(moe_model(experts=0, hidden=32, inter=24), tmp_path / "ours", **everything)
    other = change(moe_model(experts=0, hidden=32, inter=24))
    assert_same_noise(ours, compiled(other, tmp_path / "theirs", **everything), TOKENS[:1] % 11)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> object:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from cases import Builder
    from packages import add_packages

    add_packages()
    torch.set_num_threads(1)
    return Builder(tmp_path_factory.mktemp("exporters"))


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torch.onnx, batched_mm", "transformers, grouped_mm", "mobius", "hetc"])
@pytest.mark.parametrize("family", ["deepseek_v2", "gpt_oss", "mixtral", "olmoe", "qwen2_moe"])
def test_units_shares_and_noise(family: str, exporter: str, builder: object, tmp_path: Path) -> None:
    """By another exporter, or by ours and after the simplifiers that people run over it."""
    from cases import Builder, Case
    from outcomes import unit_table

    assert isinstance(builder, Builder)
    if (exporter, family) == ("torch.onnx, batched_mm", "deepseek_v2"):
        pytest.skip("torch.onnx has no translation for the complex numbers of its rotary embedding")
    ours = builder.build(Case("hetc", family))
    plan = compiled(ours, tmp_path / "ours", digital_frac=0.25).plan
    noisy = compiled(ours, tmp_path / "noisy", **ATTENTION)
    # A session of ONNX Runtime rewrites Qwen2-MoE's gate of the shared expert, which then draws no numbers.
    sessions = ("session, all",) if family != "qwen2_moe" else ()
    for tool in ("onnxslim", "onnxsim", *sessions) if exporter == "hetc" else ("",):
        case = Case(exporter, family, tool=tool)
        if case.missing:
            pytest.skip(case.missing)
        theirs = builder.build(case)
        other = compiled(theirs, tmp_path / "theirs", digital_frac=0.25).plan
        assert unit_table(other.units) == unit_table(plan.units)
        assert not any(finding.layer == "model" for finding in other.findings)
        assert other.shares.percent() == pytest.approx(plan.shares.percent(), abs=0.1)
        assert_same_noise(noisy, compiled(theirs, tmp_path / "theirs_noisy", **ATTENTION))
