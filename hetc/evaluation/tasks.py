"""Runs the tasks of EleutherAI's lm-eval on anything that predicts tokens: a bundle or a live torch model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetsError
from lm_eval import evaluator, simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from hetc.base.errors import InvalidInputError, RuntimeMissingError, UsageError
from hetc.evaluation.score_texts import Text, score_texts
from hetc.model.generation_config import context_length, first_token
from hetc.model.prediction import Generate, Predict
from hetc.model.tokenizer import load_tokenizer

__all__ = ["PAPER_TASKS", "LanguageModel", "check_tasks", "run_tasks", "task_names"]

PAPER_TASKS = ("piqa", "arc_easy", "arc_challenge", "boolq", "hellaswag", "winogrande", "mathqa", "mmlu")
"""The tasks of arXiv 2603.02633, by lm-eval's names."""

WINDOW = 2048
MOST_GENERATED = 256
MOST_GENERATED_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What tasks call the number of tokens to generate; lm-eval takes the first that is given."""

# lm-eval notes what git says of the current folder, and git's complaint that it is no repository reaches the
# user; and what the machine is like, which takes seconds. Rows say what they were measured with themselves.
evaluator.get_git_commit_hash = lambda: None
evaluator.add_env_info = lambda storage: None

Request = tuple[tuple[str, str], list[int], list[int]]


class LanguageModel(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """What lm-eval calls a model.

    Args:
        predict: How well the model foretells tokens.
        generate: Its continuations, for tasks that ask for text.
        folder: Where `tokenizer.json` and `config.json` lie: a bundle or a checkpoint.

    Raises:
        InvalidInputError: No tokenizer in the folder, or no token that begins or ends a text in its config.
    """

    def __init__(self, predict: Predict, generate: Generate, folder: Path) -> None:
        super().__init__()
        self.tokens = load_tokenizer(folder)
        self.first = first_token(folder)
        self.window = min(WINDOW, context_length(folder) or WINDOW)
        self.predict, self.generate = predict, generate

    @property
    def eot_token_id(self) -> int:
        """What stands before a text that nothing precedes."""
        return int(self.first)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text."""
        encoded: list[int] = self.tokens.encode(
            string, add_special_tokens=add_special_tokens is not False
        ).ids
        return encoded

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval has it, with our line of progress alone."""
        return list(super().loglikelihood(requests, disable_tqdm=True))

    def _loglikelihood_tokens(self, requests: list[Request], **_: Any) -> list[tuple[float, bool]]:
        """Log probability of each continuation, and whether it is what greedy decoding gives."""
        texts = [
            Text((context + following)[-self.window :], len(following)) for _, context, following in requests
        ]
        return score_texts(self.predict, texts, padding=self.first)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log probability of whole texts, in windows that follow each other."""
        parts: list[list[Request]] = []
        for request in requests:
            (text,) = request.args
            tokens = self.tok_encode(text, add_special_tokens=False)
            windows = get_rolling_token_windows(tokens, self.eot_token_id, self.window - 1, 1)
            parts.append([(("", ""), *make_disjoint_window(window)) for window in windows])
        scores = iter(self._loglikelihood_tokens([part for windows in parts for part in windows]))
        return [sum(next(scores)[0] for _ in windows) for windows in parts]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations up to the first of a task's stop texts."""
        texts = []
        for context, options in (request.args for request in requests):
            most, stops = _generation_options(options)
            if most >= self.window:
                raise InvalidInputError(
                    f"a task asks for up to {most} tokens (max_gen_toks), but the model's window has "
                    f"{self.window}, and the prompt needs one of them at least"
                )
            tokens = self.tok_encode(context)[most - self.window :]
            generated: list[int] = []
            text = ""
            for token in self.generate(tokens, most):
                generated.append(token)
                text = self.tokens.decode(generated)
                if any(stop in text for stop in stops):
                    break
            for stop in stops:
                text = text.split(stop)[0]
            texts.append(text)
        return texts


def _generation_options(options: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many tokens a task asks for at most, and where they end, in any spelling that lm-eval takes."""
    given = (options[name] for name in MOST_GENERATED_NAMES if options.get(name) is not None)
    most, until = next(given, MOST_GENERATED), options.get("until") or []
    stops = [until] if isinstance(until, str) else list(until)
    if not str(most).isdecimal() or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidInputError(
            f"a task asks for {most!r} tokens until {until!r}; these are a number and texts"
        )
    return int(most), stops


def check_tasks(tasks: Sequence[str], include: Path | None) -> None:
    """Raises `UsageError` for a task that neither lm-eval nor the files in a folder know."""
    _manager(tuple(tasks), include)


def task_names(text: str) -> tuple[str, ...]:
    """`piqa,boolq` as names; `paper` stands for the paper's eight."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(task for name in names for task in (PAPER_TASKS if name == "paper" else (name,)))


def _manager(tasks: tuple[str, ...], include: Path | None) -> TaskManager:
    """Who finds the tasks, kept while neither the tasks nor the files of `include` change."""
    if include is None:
        return _make_manager(tasks, None, ())
    folder = include.resolve()
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    state = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return _make_manager(tasks, folder, state)


@lru_cache(maxsize=1)
def _make_manager(tasks: tuple[str, ...], include: Path | None, state: tuple[object, ...]) -> TaskManager:
    """lm-eval's own tasks take seconds to list: only where they are asked for."""
    where = "give --include-path for files of your own"
    if include is not None:
        where = f"and {include} has none"
        own = TaskManager(include_path=str(include), include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    manager = TaskManager(include_path=None if include is None else str(include))
    for task in tasks:
        if task not in manager.all_tasks:
            raise UsageError(f"task {task!r}: lm-eval has no task of that name, {where}")
    return manager


def run_tasks(
    model: LanguageModel, tasks: Sequence[str], *, include: Path | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Runs tasks on a model.

    Args:
        model: The model.
        tasks: Names that lm-eval knows.
        include: Folder with further task files (YAML).
        limit: The first so many questions of each task; None for all.

    Returns:
        For each task and metric a row with `task`, `metric`, `value` and `higher_is_better`, as the table of
        results has them (`hetc.evaluation.results`).

    Raises:
        UsageError: A task that isn't known.
        RuntimeMissingError: A task's data can't be reached.
    """
    manager = _manager(tuple(tasks), include)
    try:
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            task_manager=manager,
            limit=limit,
            bootstrap_iters=0,
            log_samples=False,
        )
    except (OSError, DatasetsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RuntimeMissingError(
            f"the data of {', '.join(tasks)} can't be loaded: {reason}; run once where the data set hub can "
            "be reached, or give tasks with local data by --include-path"
        ) from error
    assert found is not None
    rows = []
    for task in tasks:
        better = found["higher_is_better"].get(task, {})
        for key, value in found["results"][task].items():
            metric, _, kind = key.partition(",")
            if kind == "none" and not metric.endswith("_stderr") and isinstance(value, (int, float)):
                rows.append(
                    {
                        "task": task,
                        "metric": metric,
                        "value": float(value),
                        "higher_is_better": bool(better.get(metric, True)),
                    }
                )
    return rows
