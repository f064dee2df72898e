"""Sessions that choose their share, and adapt it to drift."""

from __future__ import annotations

import gc
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import SAMPLE
from memory import heap_bytes
from models import moe_model
from programmings import programmings

from hetc.base.errors import UsageError
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import TUNING
from hetc.bundle.noise_probe import NoiseProbe, mean_noise
from hetc.compiler.compile import compile
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.likelihood import session_forward
from hetc.hardware.profile import Profile
from hetc.plan.fractions import DigitalFraction
from hetc.tuning.adaptive_session import AdaptiveSession
from hetc.tuning.shares import TunedShare, Tuning
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


def small_bundle(folder: Path, **sizes: int) -> Bundle:
    """A bundle that takes its smaller share until the crossbars have drifted, and 1 J per token at least."""
    model = moe_model(**{"layers": 1, "experts": 8, **sizes})
    bundle = compile(model, folder, digital_frac=0)
    seen = ((DigitalFraction(0), 0.1), (DigitalFraction(0.5), 1))
    shares = tuple(TunedShare(share, 0, noise, 1, 1, 1) for share, noise in seen)
    (folder / TUNING).write_text(json.dumps(Tuning("loss", 1, 1, 2, 0.95, "", shares, ()).to_dict()))
    return bundle


CHOICES = pytest.mark.parametrize("choice", [{"target_loss": 1}, {"energy": 1}], ids=["loss", "energy"])
FEED = {"input_ids": np.arange(11)}


def test_nothing_is_programmed_twice(tmp_path: Path) -> None:
    """Measuring programs each of the 3 matrices of an expert; sessions and further measurements have them."""
    bundle = small_bundle(tmp_path / "bundle", hidden=64, inter=48, top_k=8)
    before = programmings()
    session = bundle.session(seed=9, target_loss=1, threads=1)
    assert session.digital_frac == 0
    session.run(None, FEED)
    assert programmings() == before + 8 * 3
    assert session.adapt(drift_time=YEAR) == 0.5
    session.run(None, FEED)
    assert programmings() == before + 2 * 8 * 3
    bundle.session(seed=9, drift_time=YEAR, digital_frac="0.5").run(None, FEED)
    session.adapt()  # measures the other half again
    assert programmings() == before + 2 * 8 * 3 + 4 * 3


@CHOICES
@pytest.mark.parametrize("drift_time", [-1, float("nan"), float("inf"), "x", True, [1]])
def test_a_time_that_is_none_changes_nothing(
    tmp_path: Path, choice: dict[str, float], drift_time: object
) -> None:
    session = small_bundle(tmp_path / "bundle").session(**choice)
    before, share = session.run(None, FEED)[0], session.digital_frac
    with pytest.raises(UsageError, match="drift_time"):
        session.adapt(drift_time=drift_time)
    np.testing.assert_array_equal(session.run(None, FEED)[0], before)
    assert session.adapt() == session.digital_frac == share
    np.testing.assert_array_equal(session.run(None, FEED)[0], before)


def test_other_threads_run_while_it_adapts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is that of the share before or after; two that adapt at once take turns."""
    bundle = small_bundle(tmp_path / "bundle")
    session = bundle.session(target_loss=1, threads=1)
    times = (0.0, YEAR)
    allowed = [
        bundle.session(digital_frac=share, drift_time=time).run(None, FEED)[0].tobytes()
        for share, time in (("0", 0.0), ("0.5", YEAR))
    ]
    seen: list[bytes] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            seen.append(session.run(None, FEED)[0].tobytes())

    def adapt() -> None:
        for time in times * 3:
            session.adapt(drift_time=time)

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run) for _ in range(2)]
        adapts = [pool.submit(adapt) for _ in range(2)]
        errors = [one.exception() for one in adapts]
        ended.set()
        errors += [one.exception() for one in runs]
    assert errors == [None] * 4
    assert set(seen) <= set(allowed)
    assert session.digital_frac == 0.5


@CHOICES
def test_the_working_directory_may_change(
    tmp_path: Path, choice: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small_bundle(Path("bundle"))
    bundle = load_bundle("bundle")
    session = bundle.session(**choice)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    share = session.digital_frac
    assert session.adapt(drift_time=0) == share
    session.run(None, FEED)
    bundle.session().run(None, FEED)


@CHOICES
def test_a_bundle_that_was_moved_or_replaced(tmp_path: Path, choice: dict[str, float]) -> None:
    """What is open goes on; nothing opens the new model with the old plan."""
    bundle = small_bundle(tmp_path / "bundle")
    session = bundle.session(**choice)
    before, share = session.run(None, FEED)[0], session.digital_frac
    bundle.path.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="no such folder"):
        session.adapt()
    compile(moe_model(layers=1, experts=8, seed=1), bundle.path, digital_frac=0.5)
    for use in (session.adapt, bundle.session, bundle.measure_noise, lambda: bake_bundle(bundle, "no")):
        with pytest.raises(UsageError, match="was replaced since it was opened"):
            use()
    np.testing.assert_array_equal(session.run(None, FEED)[0], before)
    shutil.rmtree(bundle.path)
    (tmp_path / "moved").rename(bundle.path)
    assert session.adapt() == share


def test_replaced_while_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    session = bundle.session(target_loss=1)
    before = session.run(None, FEED)[0]
    measure = NoiseProbe.measure

    def replaced(probe: NoiseProbe) -> dict[str, float]:
        compile(moe_model(layers=1, experts=8, seed=1), bundle.path, digital_frac=0, force=True)
        return measure(probe)

    monkeypatch.setattr(NoiseProbe, "measure", replaced)
    with pytest.raises(UsageError, match="was replaced since it was opened"):
        session.adapt()
    np.testing.assert_array_equal(session.run(None, FEED)[0], before)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_adapting_leaks_nothing(tmp_path: Path) -> None:
    """Neither file descriptors nor memory, whether it succeeds or fails."""
    rounds = 1000
    bundle = small_bundle(tmp_path / "bundle", experts=2, hidden=4, inter=4)
    session = bundle.session(target_loss=1, threads=1)

    def adapt(count: int) -> None:
        for number in range(count):
            session.adapt(drift_time=(0.0, YEAR)[number % 2])
            if number % 5 == 0:
                with pytest.raises(UsageError):
                    session.adapt(drift_time=-1)
        gc.collect()

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    adapt(10)
    opened, held = descriptors(), heap_bytes()
    adapt(rounds)
    assert descriptors() <= opened
    assert heap_bytes() - held < 400_000 + 500 * rounds
