"""Evaluating at several noise scales with the exact baseline, and the differences from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE, hetc

from hetc.base.errors import UsageError
from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.evaluation.differences import Rows, student_t
from hetc.evaluation.evaluate import evaluate
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.evaluation.results_file import read_results

DATA = SAMPLE / "heldout.npz"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(SAMPLE / "model.onnx", tmp_path_factory.mktemp("differences") / "bundle", digital_frac=0)


@pytest.fixture(scope="module")
def rows(bundle: Bundle) -> Rows:
    return evaluate(bundle, data=DATA, window=32, windows=4, seeds=3, noise_scale=[1, 8], baseline=True)


def test_plain_loss_is_that_of_the_session(bundle: Bundle, rows: Rows) -> None:
    windows = np.load(DATA)["tokens"][:128].reshape(4, 32).astype(np.int64)
    for mode, scale, seed in (("exact", 1.0, 0), ("noisy", 8.0, 2)):
        choices = {"mode": mode} if mode == "exact" else {"mode": mode, "noise_scale": scale, "seed": seed}
        expected = mean_loss(session_forward(bundle.session(**choices)), windows)
        (row,) = (
            row
            for row in rows
            if (row["mode"], row["noise_scale"], row["seed"], row["metric"]) == (mode, scale, seed, "loss")
        )
        assert row["value"] == pytest.approx(expected, abs=1e-12)
        assert (row["task"], row["tokens"], row["window"]) == ("heldout", 128, 32)


def test_differences_from_the_exact_model(rows: Rows) -> None:
    values = {
        scale: [
            row["value"]
            for row in rows
            if (row["noise_scale"], row["mode"], row["metric"]) == (scale, "noisy", "loss")
        ]
        for scale in (1.0, 8.0)
    }
    (exact,) = (row["value"] for row in rows if (row["mode"], row["metric"]) == ("exact", "loss"))
    found = {(each.mode, each.noise_scale): each for each in rows.differences() if each.metric == "loss"}
    assert list(found) == [("exact", 1.0), ("noisy", 1.0), ("noisy", 8.0)]
    assert found["exact", 1.0].difference is None
    for scale, own in values.items():
        each = found["noisy", scale]
        assert (each.seeds, each.exact) == (3, exact)
        assert each.difference == pytest.approx(np.mean(own) - exact)
        assert each.margin == pytest.approx(student_t(0.95, 2) * np.std(own, ddof=1) / np.sqrt(3))
    assert found["noisy", 8.0].difference > 0.1 > abs(found["noisy", 1.0].difference)


def test_rows_are_a_frame_and_a_table(rows: Rows) -> None:
    pytest.importorskip("pandas")
    frame = rows.to_dataframe()
    assert len(frame) == len(rows) == 2 * (1 + 2 * 3)
    assert frame[frame["mode"] == "exact"]["value"].tolist() == [row["value"] for row in rows[:2]]
    assert rows._repr_html_().count("<tr>") == 1 + len(rows.differences())


def test_what_is_refused(bundle: Bundle, rows: Rows) -> None:
    with pytest.raises(UsageError, match="nothing to ask"):
        evaluate(bundle)
    with pytest.raises(UsageError, match="no noise scale"):
        evaluate(bundle, data=DATA, noise_scale=[])
    with pytest.raises(UsageError, match="between 0 and 1"):
        rows.differences(95)


def test_command_without_lm_eval(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    ask = ("evaluate", bundle.path, "--data", DATA, "--window", 32, "--windows", 2)
    done = hetc(*ask, "--noise-scale", "1,8", "--baseline", "--seeds", 2, "-o", tmp_path / "r.csv")
    assert done.returncode == 0, done.stderr
    assert "less exact" in done.stdout and "c = 8" in done.stdout and "±" in done.stdout
    modes = [result.mode for result in read_results(tmp_path / "r.csv") if result.metric == "loss"]
    assert modes == ["exact", *["noisy"] * 4]
    one = hetc(*ask, "--baseline", "--json")
    assert [row["mode"] for row in json.loads(one.stdout)["results"]] == ["exact", "exact", "noisy", "noisy"]
    assert hetc(*ask[:2]).returncode == 2
    assert hetc(*ask, "--noise-scale", "1;8").returncode == 2
    assert hetc("evaluate", bundle.path, "--tasks", "piqa").returncode == 5
