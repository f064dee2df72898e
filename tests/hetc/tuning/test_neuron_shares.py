"""Tuning and sessions where single neurons are placed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import moe_model
from programmings import programmings

import hetc
from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.hardware.profile import Profile
from hetc.plan.targets import targets_at
from hetc.tuning.adaptive_session import AdaptiveSession
from hetc.tuning.tune import MOST_SHARES, _shares, tune

IDS = {"input_ids": np.arange(11)}
TOKENS = np.random.default_rng(0).integers(0, 11, 22)


def compiled(folder: Path, fraction: float = 0.125, **sizes: int) -> Bundle:
    model = moe_model(**{"hidden": 40, "inter": 24, **sizes})
    profile = Profile(tile_rows=16, noise_scale=4)
    return compile(model, folder, granularity="neuron", digital_frac=fraction, profile=profile)


def test_a_session_may_move_more_neurons_and_never_fewer(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle")
    outputs = [bundle.session(digital_frac=f).run(None, IDS)[0] for f in (None, "0.125", 0.5, 1)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    exact = bundle.session(mode="exact").run(None, IDS)[0]
    errors = [float(np.abs(output - exact).mean()) for output in outputs]
    assert errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-6
    other = compile(
        moe_model(hidden=40, inter=24),
        tmp_path / "half",
        granularity="neuron",
        digital_frac=0.5,
        profile=bundle.plan.profile,
    )
    np.testing.assert_array_equal(other.session().run(None, IDS)[0], outputs[2])
    with pytest.raises(UsageError, match=r"digital fraction 0\.1 is below the 0\.125 that .* was compiled"):
        bundle.session(digital_frac=0.1)


def test_shares_are_those_of_neurons(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle")
    shares = _shares(bundle)
    assert len(shares) == 192 - 24 + 1  # all of 2 x 4 x 24 neurons from 0.125 on
    counts = [
        sum(unit.digital_neurons for unit in targets_at(bundle.plan, share) if unit.kind == "expert")
        for share in shares
    ]
    assert counts == list(range(24, 193))
    many = _shares(compiled(tmp_path / "many", inter=400))
    assert MOST_SHARES / 2 < len(many) <= MOST_SHARES + 1
    assert [float(share) for share in (many[0], many[-1])] == [0.125, 1]


def test_what_is_tuned_opens_sessions_that_adapt(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle")
    tuning = tune(bundle, TOKENS, window=11, windows=2, seeds=2, max_drop="0.3%")
    ((_, share),) = tuning.chosen
    assert share is not None
    assert len({one.joules_per_token for one in tuning.shares}) == len(tuning.shares)
    session = bundle.session(seed=1, target_loss=tuning.bound)
    assert isinstance(session, AdaptiveSession)
    expected = bundle.session(seed=1, digital_frac=session.digital_frac)
    before = programmings()
    output = session.run(None, IDS)[0]
    np.testing.assert_array_equal(output, expected.run(None, IDS)[0])
    assert programmings() == before  # it runs on what it holds
    assert session.adapt() == session.digital_frac


def test_verify_says_how_many_neurons_are_digital(tmp_path: Path) -> None:
    bundle = compiled(tmp_path / "bundle")
    divided = [unit for unit in bundle.plan.units if unit.target == "analog" and unit.digital_neurons]
    digital = sum(unit.digital_neurons for unit in divided)
    checks = {check.name: check for check in hetc.verify(bundle, seeds=2)}
    assert "failed" not in {check.status for check in checks.values()}
    said = f"8 AnalogExpert, all by the library's kernels; {digital} of the {24 * len(divided)} neurons"
    assert checks["kernels"].detail.startswith(said)
