"""Sessions that choose their share, and adapt it to drift."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import SAMPLE
from memory import heap_bytes
from models import moe_model

from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.bundle.noise_probe import mean_noise
from hetc.compiler.compile import compile
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.likelihood import session_forward
from hetc.hardware.profile import Profile
from hetc.plan.fractions import DigitalFraction
from hetc.tuning.adaptive_session import AdaptiveSession
from hetc.tuning.shares import TUNING, TunedShare, Tuning
from hetc.tuning.tune import tune

WINDOWS = np.load(SAMPLE / "heldout.npz")["tokens"][:256].reshape(2, 128)
YEAR = 31536000.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    profile = Profile(noise_scale=4, drift_compensation="none")
    output = tmp_path_factory.mktemp("adaptive") / "bundle"
    return compile(SAMPLE / "model.onnx", output, digital_frac=0.25, profile=profile)


@pytest.fixture(scope="module")
def tuning(bundle: Bundle) -> Tuning:
    basis = CostBasis(load_costs("a100+pcm-3d"))
    return tune(bundle, WINDOWS, basis, max_drop="2%", seeds=2, drift_times=(0, YEAR))


def test_drift_changes_the_share(bundle: Bundle, tuning: Tuning) -> None:
    session = bundle.session(seed=1, target_loss=tuning.bound)
    assert isinstance(session, AdaptiveSession)
    fresh, aged = (share for _, share in tuning.chosen)
    assert session.digital_frac == fresh
    assert session.noise == pytest.approx(mean_noise(bundle.measure_noise(seed=1)))
    assert_runs_as(session, bundle.session(seed=1, digital_frac=fresh))
    assert session.adapt() == fresh
    assert session.adapt(drift_time=YEAR) == aged > fresh
    assert session.noise == pytest.approx(mean_noise(bundle.measure_noise(seed=1, drift_time=YEAR)))
    assert_runs_as(session, bundle.session(seed=1, digital_frac=aged, drift_time=YEAR))


def assert_runs_as(session: onnxruntime.InferenceSession, other: onnxruntime.InferenceSession) -> None:
    np.testing.assert_array_equal(session_forward(session)(WINDOWS), session_forward(other)(WINDOWS))


def test_energy_needs_no_measurement(bundle: Bundle, tuning: Tuning) -> None:
    most = max(share.joules_per_token for share in tuning.shares)
    session = bundle.session(energy=most)
    assert session.noise is None
    assert session.digital_frac == max(share.digital_frac for share in tuning.shares)
    assert session.adapt(drift_time=YEAR) == session.digital_frac


def test_a_share_that_cannot_be_had_leaves_the_session_as_it_was(bundle: Bundle, tuning: Tuning) -> None:
    session = bundle.session(target_loss=tuning.bound)
    share, before = session.digital_frac, session_forward(session)(WINDOWS)
    with pytest.raises(UsageError, match="longer drift time"):
        session.adapt(drift_time=100 * YEAR)
    assert session.digital_frac == share
    assert session.adapt() == share  # at the time that it still runs at
    np.testing.assert_array_equal(session_forward(session)(WINDOWS), before)
    with pytest.raises(UsageError, match="digital_frac, or"):
        bundle.session(digital_frac=0.5, target_loss=3.0)


def test_nothing_is_programmed_twice(tmp_path: Path) -> None:
    """A session that programs holds the copies from its first run on; an adapted one has them already."""
    model = moe_model(layers=1, experts=8, hidden=512, inter=1024, top_k=8)
    bundle = compile(model, tmp_path / "bundle", digital_frac=0)
    seen = ((DigitalFraction(0), 0.1), (DigitalFraction(0.5), 1))
    shares = tuple(TunedShare(share, 0, noise, 1, 1, 1) for share, noise in seen)
    tuning = Tuning("loss", 1, 1, 2, 0.95, "", shares, ())
    (bundle.path / TUNING).write_text(json.dumps(tuning.to_dict()))
    programmed = 4 * 3 * 512 * 1024 * 2  # bytes of half of the experts, in bfloat16

    def grows_by(session: onnxruntime.InferenceSession) -> int:
        before = heap_bytes()
        session.run(None, {"input_ids": np.arange(11)})
        return heap_bytes() - before

    session = bundle.session(seed=0, target_loss=1, threads=1)
    assert session.digital_frac == 0
    assert session.adapt(drift_time=YEAR) == 0.5
    adapted = grows_by(session)
    cold = bundle.session(seed=100, drift_time=YEAR, digital_frac="0.5", threads=1)
    assert grows_by(cold) - adapted >= programmed > 4 * adapted
    again = bundle.session(seed=100, drift_time=YEAR, digital_frac="0.5", threads=1)
    assert grows_by(again) < programmed / 4
