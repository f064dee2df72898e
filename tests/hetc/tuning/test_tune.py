"""Tuning: bisection over shares, intervals, what it leaves in the bundle, and the share that follows."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE, hetc, python_process
from hypothesis import given
from hypothesis import strategies as st

from hetc.base.errors import InvalidInputError, UsageError
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import MANIFEST, TUNING
from hetc.compiler.compile import compile
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.evaluation.differences import student_t
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.profile import Profile
from hetc.plan.targets import targets_at
from hetc.tuning.shares import Tuning, choose_share, load_tuning
from hetc.tuning.tune import _smallest, tune

BASIS = CostBasis(load_costs("a100+pcm-3d"), Workload("decode", batch=4, context=100), "overlapped")
WINDOWS = np.load(SAMPLE / "heldout.npz")["tokens"][:256].reshape(2, 128)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("tune") / "bundle"
    return compile(SAMPLE / "model.onnx", output, digital_frac=0.25, profile=Profile(noise_scale=8))


@pytest.fixture(scope="module")
def mostly_digital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with few shares to look at."""
    return compile(SAMPLE / "model.onnx", tmp_path_factory.mktemp("tune") / "bundle", digital_frac=0.9).path


@pytest.fixture
def own_bundle(mostly_digital: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    return load_bundle(shutil.copytree(mostly_digital, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def tuning(bundle: Bundle) -> Tuning:
    return tune(bundle, WINDOWS, BASIS, max_drop="0.2", seeds=3)


@pytest.mark.parametrize(
    ("confidence", "freedom", "expected"), [(0.95, 1, 12.706), (0.95, 7, 2.365), (0.99, 15, 2.947)]
)
def test_students_t(confidence: float, freedom: int, expected: float) -> None:
    assert student_t(confidence, freedom) == pytest.approx(expected, abs=1e-3)  # printed tables


@given(count=st.integers(1, 40), first=st.integers(0, 40))
def test_bisection_finds_the_first_good_share(count: int, first: int) -> None:
    shares = [str(share) for share in range(count)]
    looked: list[str] = []
    found = _smallest(shares, lambda share: not looked.append(share) and int(share) >= first)
    assert found == (str(first) if first < count else None)
    assert len(looked) == len(set(looked)) <= count.bit_length()


def test_what_was_measured_is_what_sessions_lose(bundle: Bundle, tuning: Tuning) -> None:
    exact = mean_loss(session_forward(bundle.session(mode="exact")), WINDOWS)
    assert tuning.reference == pytest.approx(exact, abs=1e-6)
    assert tuning.bound == pytest.approx(exact + 0.2, abs=1e-6)
    (drift_time, share), shares = tuning.chosen[0], {one.digital_frac: one for one in tuning.shares}
    assert drift_time == 0
    assert share is not None and float(share) > 0.25
    losses = [
        mean_loss(session_forward(bundle.session(seed=seed, digital_frac=share)), WINDOWS)
        for seed in range(3)
    ]
    assert shares[share].mean == pytest.approx(np.mean(losses), abs=1e-6)
    margin = student_t(0.95, 2) * np.std(losses, ddof=1) / np.sqrt(3)
    assert shares[share].worst == pytest.approx(np.mean(losses) + margin, rel=1e-4)
    assert shares[share].worst <= tuning.bound
    smaller = [one for one in shares if float(one) < float(share)]
    assert smaller and shares[max(smaller, key=float)].worst > tuning.bound


def test_energy_is_that_of_the_system_and_step(bundle: Bundle, tuning: Tuning) -> None:
    assert tuning.basis == "a100+pcm-3d, decode, batch 4, context 100, overlapped"
    assert tuning.shares
    for share in tuning.shares:
        cost = BASIS.plan_cost(targets_at(bundle.plan, share.digital_frac))
        assert share.joules_per_token == cost.joules_per_token


def test_tuning_lies_in_the_bundle_and_is_no_part_of_what_was_compiled(
    bundle: Bundle, tuning: Tuning
) -> None:
    assert load_tuning(bundle.path) == tuning
    assert load_bundle(bundle.path).manifest == bundle.manifest
    assert TUNING not in bundle.manifest


def test_a_bundle_that_listed_its_tuning_can_be_tuned_again(own_bundle: Bundle) -> None:
    record = json.loads((own_bundle.path / MANIFEST).read_text())
    record["files"][TUNING] = {"sha256": "0" * 64, "size": 5}
    (own_bundle.path / MANIFEST).write_text(json.dumps(record))
    tune(own_bundle.path, WINDOWS[:, :16], BASIS, max_drop="900%", seeds=2, windows=1)
    assert load_tuning(load_bundle(own_bundle.path).path).seeds == 2


KILLED = """
import os, pathlib, signal, sys
import hetc
written, replace = [], pathlib.Path.replace
def killed(self, target):
    done = replace(self, target)
    written.append(target)
    if len(written) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
pathlib.Path.replace = killed
hetc.tune(sys.argv[1], sys.argv[2], window=16, windows=1, seeds=2, max_drop="900%")
print("done")
"""


@pytest.mark.parametrize("write", [1, 2])
def test_killed_at_any_write_the_bundle_opens(own_bundle: Bundle, write: int) -> None:
    tokens = SAMPLE / "heldout.npz"
    tune(own_bundle, tokens, window=16, windows=1, seeds=3, max_drop="800%")
    ended = python_process(KILLED, own_bundle.path, tokens, write)
    assert ended.returncode == -signal.SIGKILL or ended.stdout == "done\n", ended.stderr
    assert ended.returncode != 0 or write > 1  # it was killed in the middle of its work
    assert load_tuning(load_bundle(own_bundle.path).path).seeds == 2


def test_a_bundle_replaced_meanwhile_is_not_tuned(
    own_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = own_bundle.session

    def replaced(*arguments: object, **named: object) -> object:
        session = opened(*arguments, **named)  # type: ignore[arg-type]
        compile(SAMPLE / "model.onnx", own_bundle.path, digital_frac=1, force=True)
        return session

    monkeypatch.setattr(Bundle, "session", lambda self, *given, **named: replaced(*given, **named))
    with pytest.raises(UsageError, match="was replaced"):
        tune(own_bundle, WINDOWS[:, :16], BASIS, seeds=2, windows=1)
    assert not (own_bundle.path / TUNING).exists()


def test_session_runs_at_the_share_that_keeps_the_loss(bundle: Bundle, tuning: Tuning) -> None:
    share = tuning.chosen[0][1]
    chosen = bundle.session(seed=1, target_loss=tuning.bound)
    given = bundle.session(seed=1, digital_frac=share)
    for tokens in (WINDOWS[:1], WINDOWS[1:2]):
        np.testing.assert_array_equal(session_forward(chosen)(tokens), session_forward(given)(tokens))
    with pytest.raises(UsageError, match="digital_frac, or"):
        bundle.session(digital_frac=0.5, target_loss=3.0)


def test_shares_by_noise_and_energy(tuning: Tuning) -> None:
    fresh = tuning.shares
    aged = tuple(replace(one, drift_time=1.0, noise=2 * one.noise, worst=one.worst + 0.05) for one in fresh)
    both = replace(tuning, shares=(*fresh, *aged))
    noise = fresh[0].noise
    loosely = tuning.bound + 0.05
    assert choose_share(both, noise=noise, target_loss=tuning.bound) == tuning.chosen[0][1]
    assert choose_share(both, noise=1.5 * noise, target_loss=loosely) == tuning.chosen[0][1]
    with pytest.raises(UsageError, match="longer drift time"):
        choose_share(both, noise=3 * noise, target_loss=10)
    energies = sorted((one.joules_per_token, one.digital_frac) for one in fresh)
    largest = max((one.digital_frac for one in fresh), key=float)
    assert choose_share(both, noise=0, energy=energies[-1][0]) == largest
    assert choose_share(both, noise=0, energy=energies[0][0]) == energies[0][1]
    with pytest.raises(UsageError, match="the least is"):
        choose_share(both, noise=0, energy=1e-12)
    with pytest.raises(UsageError, match="tuned for accuracy"):
        choose_share(replace(both, metric="accuracy"), noise=0, target_loss=1)


def test_refusals(bundle: Bundle, own_bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="neither a share"):
        tune(bundle, WINDOWS, BASIS, max_drop="much")
    with pytest.raises(UsageError, match="loss, accuracy"):
        tune(bundle, WINDOWS, BASIS, metric="perplexity")
    untuned = own_bundle
    with pytest.raises(UsageError, match="hetc tune"):
        untuned.session(target_loss=3.0)
    (untuned.path / TUNING).write_text("{}")
    with pytest.raises(InvalidInputError, match=r"tuning .*: metric is missing"):
        load_tuning(untuned.path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metric", "taste", "metric is .taste.; it must be one of"),
        ("reference", float("nan"), "reference is nan"),
        ("shares", [], "shares is .*; it must be a list of at least 1"),
        ("shares", {}, "shares is .*; it must be a list"),
        ("seeds", 1.5, "seeds is 1.5; it must be a whole number"),
        ("chosen", [[0, "1/0"]], "1/0"),
        ("chosen", [[0]], "chosen"),
        ("chosen", [[0, 0.5]], "chosen"),
        ("more", 1, "unknown key more"),
    ],
)
def test_a_damaged_tuning(tuning: Tuning, tmp_path: Path, key: str, value: object, message: str) -> None:
    (tmp_path / TUNING).write_text(json.dumps({**tuning.to_dict(), key: value}))
    with pytest.raises(InvalidInputError, match=message):
        load_tuning(tmp_path)


def test_command(tmp_path: Path) -> None:
    profile = Profile(noise_scale=8)
    bundle = compile(
        SAMPLE / "model.onnx", tmp_path / "b", digital_frac=0.75, analog=["*.attention"], profile=profile
    )
    arguments = ("tune", bundle.path, "--data", SAMPLE / "heldout.npz", "--windows", 1, "--seeds", 2)
    done = hetc(*arguments, "--max-drop", "1000%", "--batch", 1, "--json")
    assert done.returncode == 0, done.stderr
    tuning = json.loads(done.stdout)
    assert tuning["chosen"] == [[0.0, 0.75]]
    assert tuning["basis"] == "a100+pcm-3d, decode, batch 1, context 1,024, serial"
    done = hetc(*arguments, "--max-drop", "0")
    assert done.returncode == 4
    assert "no share keeps loss" in done.stderr
    assert "chosen" not in done.stdout
