"""lm-eval data sets of the modules that the samples' training held out (`samples/tiny_moe/train.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer

SAMPLE = Path(__file__).parents[1] / "tiny_moe"
END_OF_MODULE = "<|end|>"
CONTEXT_LINES = 12
CHOICES = 4
SHORTEST, LONGEST = 12, 80
"""Characters of a line that is asked for, without its indentation."""
QUESTIONS = 400


def modules() -> list[str]:
    """The held-out texts."""
    tokenizer = Tokenizer.from_file(str(SAMPLE / "tokenizer.json"))
    tokens = np.load(SAMPLE / "heldout.npz")["tokens"].tolist()
    text = tokenizer.decode(tokens, skip_special_tokens=False)
    return [module for module in text.split(END_OF_MODULE) if module.strip()]


def whole_modules(**_: Any) -> dict[str, Dataset]:
    """Each module as a text."""
    return {"test": Dataset.from_list([{"text": module} for module in modules()])}


def next_lines(**_: Any) -> dict[str, Dataset]:
    """Which line comes next: the real one, or one of three from elsewhere, as long and as indented as it?"""
    random = np.random.default_rng(0)
    places = list(_places())
    lines = [line for _, line in places]
    questions = []
    for index in sorted(random.permutation(len(places))[:QUESTIONS]):
        context, line = places[index]
        others = sorted(set(lines) - {line}, key=lambda other: (abs(len(other) - len(line)), other))
        wrong = random.choice(others[: 8 * CHOICES], CHOICES - 1, replace=False).tolist()
        answer = int(random.integers(CHOICES))
        choices = [*wrong[:answer], line, *wrong[answer:]]
        questions.append({"context": context, "choices": choices, "answer": answer})
    return {"test": Dataset.from_list(questions)}


def _places() -> Iterator[tuple[str, str]]:
    """Lines that can be asked for, and what comes before each, its indentation included."""
    for module in modules():
        lines = module.splitlines()
        for index in range(CONTEXT_LINES, len(lines)):
            line = lines[index].strip()
            if SHORTEST <= len(line) <= LONGEST:
                before = lines[index - CONTEXT_LINES : index]
                indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
                yield "\n".join([*before, indent]), line
