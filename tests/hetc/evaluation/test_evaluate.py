"""lm-eval's answers against our own measurements, on tasks from the samples' held-out text."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from command_line import SAMPLE, hetc

from hetc.base.errors import InvalidInputError, OutputError, UsageError
from hetc.base.schema import read_schema
from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.evaluation import evaluate as evaluating
from hetc.evaluation.evaluate import evaluate
from hetc.evaluation.generate import generate_tokens
from hetc.evaluation.likelihood import session_predict
from hetc.evaluation.origin import plan_digest
from hetc.evaluation.results_file import read_results
from hetc.evaluation.running import running
from hetc.evaluation.tasks import PAPER_TASKS, LanguageModel, _manager, run_tasks, task_names
from hetc.model.generation_config import end_tokens

TASKS = SAMPLE.parent / "tasks"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(SAMPLE / "model.onnx", tmp_path_factory.mktemp("evaluate") / "bundle", digital_frac=0)


def language_model(bundle: Bundle, **choices: Any) -> LanguageModel:
    with running(bundle, **choices) as model:
        return LanguageModel(model.predict, model.generate, model.folder)


def results(model: LanguageModel, task: str, limit: int | None = None) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in run_tasks(model, [task], include=TASKS, limit=limit)}


@dataclass
class Asked:
    """lm-eval's request."""

    args: tuple[Any, ...]


def test_the_likelihood_of_texts_is_that_of_our_own_losses(bundle: Bundle) -> None:
    tokens = np.load(SAMPLE / "heldout.npz")["tokens"].astype(np.int64)
    assert tokens[0] == 0, "what begins a text"
    model = language_model(bundle, mode="exact")
    text = model.tokens.decode(tokens[1:900].tolist())
    (whole,) = model.loglikelihood_rolling([Asked((text,))])
    assert whole == pytest.approx(-model.predict(tokens[None, :900])[0].sum(), rel=1e-5)
    model.window = 256
    (cut,) = model.loglikelihood_rolling([Asked((text,))])
    windows = [tokens[first : first + 256] for first in (0, 255, 510)]
    expected = sum(model.predict(window[None])[0].sum() for window in windows)
    # The last window ends with the text, and foretells what the others haven't.
    expected += model.predict(tokens[None, 900 - 256 : 900])[0][0, -(899 - 765) :].sum()
    assert cut == pytest.approx(-expected, rel=1e-5)


def test_perplexity_task(bundle: Bundle) -> None:
    found = results(language_model(bundle, mode="exact"), "stdlib_perplexity", limit=1)
    assert 2 < found["byte_perplexity"] < 5
    assert found["bits_per_byte"] == pytest.approx(np.log2(found["byte_perplexity"]))


def test_choices_are_better_than_chance_and_noise_spoils_them(bundle: Bundle) -> None:
    exact, noisy = (
        results(language_model(bundle, **choices), "stdlib_next_line", limit=16)["acc"]
        for choices in ({"mode": "exact"}, {"noise_scale": 60})
    )
    assert exact > 0.5
    assert noisy < exact - 0.1


@pytest.mark.parametrize(
    "choices", [pytest.param({"mode": "exact"}, marks=pytest.mark.slow), {"noise_scale": 4.0}]
)
def test_answers_of_a_bundle_are_those_of_each_choice_alone(bundle: Bundle, choices: dict[str, Any]) -> None:
    """Bit for bit: one library multiplies a row alike whatever stands beside it or is in the cache."""
    for task in ("stdlib_next_line", "stdlib_perplexity"):
        alone, together = (
            results(language_model(bundle, batch=batch, **choices), task, limit=4 if "line" in task else 1)
            for batch in (1, "auto")
        )
        assert together == alone
    alone, together = (
        [answer for answer, _ in asked_lines(language_model(bundle, batch=batch, **choices))]
        for batch in (1, "auto")
    )
    assert together == alone


@pytest.mark.parametrize(
    "choices", [pytest.param({"mode": "exact"}, marks=pytest.mark.slow), {"noise_scale": 4.0}]
)
def test_answers_of_a_live_model_are_those_of_each_choice_alone(
    bundle: Bundle, choices: dict[str, Any]
) -> None:
    """But for torch's rounding, which depends on how much is multiplied at once, and may move a code."""
    pytest.importorskip("torch")
    values, answers = [], []
    for batch in (1, "auto"):
        with running(bundle, SAMPLE, batch=batch, **choices) as model:
            asked = LanguageModel(model.predict, model.generate, model.folder)
            values.append(results(asked, "stdlib_next_line", limit=4))
            answers.append(np.array([answer for answer, _ in asked_lines(asked)]))
    assert values[0] == values[1]
    apart = np.abs(answers[1] - answers[0])
    assert np.median(apart) < 1e-4
    assert apart.max() < (1e-4 if choices.get("mode") == "exact" else 0.5)


def asked_lines(model: LanguageModel) -> list[tuple[float, bool]]:
    """Answers about the choices of three questions."""
    pairs = [
        (f"import {module}\n\n\nclass Reader:\n    def", choice)
        for module in ("os", "sys", "re")
        for choice in (" __init__(self):", " read(self, size=-1):", " x")
    ]
    requests = [(pair, *model._encode_pair(*pair)) for pair in pairs]
    return model._loglikelihood_tokens(requests)


def test_texts_stop_where_the_task_says(bundle: Bundle) -> None:
    session = bundle.session(mode="exact")
    generate = partial(generate_tokens, session, end=end_tokens(bundle.path))
    model = LanguageModel(session_predict(session), generate, bundle.path)
    (text,) = model.generate_until([Asked(("import os\n", {"until": ["\n"], "max_gen_toks": 40}))])
    assert text
    assert "\n" not in text


def test_generation_as_tasks_spell_it(bundle: Bundle) -> None:
    """`until` is a text or several, and the number of tokens has more than one name, as for lm-eval."""
    session = bundle.session(mode="exact")
    model = LanguageModel(session_predict(session), partial(generate_tokens, session), bundle.path)
    prompt = "import os\n"
    (expected,) = model.generate_until([Asked((prompt, {"until": ["\n"], "max_gen_toks": 40}))])
    (text,) = model.generate_until([Asked((prompt, {"until": "\n", "max_new_tokens": 40}))])
    assert text == expected
    with pytest.raises(InvalidInputError, match="asks for up to 1024 tokens"):
        model.generate_until([Asked((prompt, {"until": ["\n"], "max_gen_toks": 1024}))])
    with pytest.raises(InvalidInputError, match="'many' tokens"):
        model.generate_until([Asked((prompt, {"max_gen_toks": "many"}))])


def test_tasks_that_changed_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(TASKS, folder / "tasks")
    yaml = folders[1] / "tasks" / "next_line.yaml"
    monkeypatch.chdir(folders[0])
    first = _manager(("stdlib_next_line",), Path("tasks"))
    assert _manager(("stdlib_next_line",), Path("tasks")) is first
    monkeypatch.chdir(folders[1])
    second = _manager(("stdlib_next_line",), Path("tasks"))
    assert second is not first
    yaml.write_text(yaml.read_text() + "\n")
    assert _manager(("stdlib_next_line",), Path("tasks")) is not second


def test_names() -> None:
    assert task_names("paper, x") == (*PAPER_TASKS, "x")


def test_what_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    model = language_model(bundle, mode="exact")
    with pytest.raises(InvalidInputError, match=r"has no tokenizer\.json"):
        LanguageModel(model.predict, model.generate, tmp_path)
    shutil.copy(SAMPLE / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "olmoe"}))
    with pytest.raises(InvalidInputError, match="neither bos_token_id nor eos_token_id"):
        LanguageModel(model.predict, model.generate, tmp_path)
    with pytest.raises(UsageError, match="the plan's checkpoint"), running(bundle.plan):
        pass


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"noise_scale": [8, 8.0]}, "one is there twice"),
        ({"noise_scale": []}, "no noise scale"),
        ({"noise_scale": 8, "mode": "converters"}, "mode converters has no programming noise"),
        ({"seeds": 2, "mode": "exact"}, "mode exact has no programming noise"),
    ],
)
def test_chips_that_would_count_twice(bundle: Bundle, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(bundle, data=SAMPLE / "heldout.npz", windows=1, window=16, **choices)


def test_the_exact_model_is_its_own_baseline(bundle: Bundle) -> None:
    data = ("--data", SAMPLE / "heldout.npz", "--windows", "1", "--window", "16", "--baseline")
    assert len(evaluate(bundle, data=data[1], windows=1, window=16, mode="exact", baseline=True)) == 2
    lines = hetc("evaluate", bundle.path, *data, "--mode", "converters").stdout.splitlines()
    assert [line.split()[2] for line in lines if "loss" in line] == ["exact", "converters"]


def test_command(bundle: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "results.csv"
    local = ("--tasks", "stdlib_next_line", "--include-path", TASKS, "--limit", "4")
    done = hetc("evaluate", bundle.path, *local, "--seeds", "2", "-o", output)
    assert done.returncode == 0, done.stderr
    assert "acc_norm" in done.stdout
    assert [(result.seed, result.metric) for result in read_results(output)] == [
        (0, "acc"),
        (0, "acc_norm"),
        (1, "acc"),
        (1, "acc_norm"),
    ]


def test_rows_say_what_was_measured(bundle: Bundle) -> None:
    (row, *_) = evaluate(bundle, "stdlib_next_line", include_path=TASKS, limit=1, noise_scale=2.0)
    assert row["model_sha256"] == bundle.plan.source["sha256"]
    assert row["profile_sha256"] == replace(bundle.plan.profile, noise_scale=2.0).digest
    assert row["plan_sha256"] == plan_digest(bundle.plan)
    assert all(len(row[f"{name}_sha256"]) == 64 for name in ("model", "files", "plan", "profile", "tasks"))
    assert "lm_eval" in row["versions"]
    assert set(row) <= set(read_schema("results")["properties"])


def test_a_baked_bundle_has_the_seed_that_was_baked(tmp_path: Path) -> None:
    few = compile(SAMPLE / "model.onnx", tmp_path / "few", digital_frac="15/16")
    baked = bake_bundle(few, tmp_path / "baked", seed=7, noise_scale=3.0)
    rows = evaluate(baked, "stdlib_next_line", include_path=TASKS, limit=1)
    assert {(row["seed"], row["noise_scale"]) for row in rows} == {(7, 3.0)}


def test_outputs_are_checked_before_work(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "running", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "there.csv").write_text("kept")
    for output, error in [
        (tmp_path / "there.csv", UsageError),
        (tmp_path / "there.csv" / "under.csv", OutputError),
        (tmp_path / "none" / "there.csv", OutputError),
        (tmp_path / "there.txt", UsageError),
    ]:
        with pytest.raises(error):
            evaluate(bundle, "stdlib_next_line", output, include_path=TASKS)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_command_outside_of_a_repository(
    bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """lm-eval asks git, whose complaint is nothing for the user."""
    local = ("--tasks", "stdlib_next_line", "--include-path", TASKS, "--limit", "1")
    done = hetc("evaluate", bundle.path, *local, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fatal" not in done.stderr + capfd.readouterr().err


@pytest.mark.slow
def test_tasks_that_cannot_be_had(bundle: Bundle) -> None:
    """lm-eval takes many seconds to list its own tasks."""
    with pytest.raises(UsageError, match="task 'piq': lm-eval has no task of that name"):
        run_tasks(language_model(bundle, mode="exact"), ["piq"])
    offline = hetc("evaluate", bundle.path, "--tasks", "paper", "--limit", "1")
    assert offline.returncode == 5
    assert "--include-path" in offline.stderr
    assert "Traceback" not in offline.stderr


def test_command_with_a_checkpoint(bundle: Bundle) -> None:
    pytest.importorskip("torch")
    local = (
        "--tasks",
        "stdlib_next_line",
        "--include-path",
        TASKS,
        "--limit",
        "8",
        "--mode",
        "exact",
        "--json",
    )
    ours = hetc("evaluate", bundle.path, *local)
    torchs = hetc("evaluate", bundle.path / "plan.json", "--checkpoint", SAMPLE, *local)
    assert torchs.returncode == 0, torchs.stderr
    found = [json.loads(done.stdout)["results"] for done in (ours, torchs)]
    measured = [[(row["metric"], row["value"], row["tasks_sha256"]) for row in rows] for rows in found]
    assert measured[0] == measured[1]
    assert [rows[0]["runtime"] for rows in found] == ["onnxruntime", "torch cpu"]
    assert [len(rows[0]["checkpoint_sha256"]) for rows in found] == [0, 64]
