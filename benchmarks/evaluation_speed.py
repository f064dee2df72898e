"""Count the tokens that answering a task's questions takes, and time it, and print a Markdown table.

The next-line questions of `samples/tasks` on `samples/tiny_moe`, its bundle and its plan on the live model,
on the CPU: each choice by itself, choices together in order of their length, and with their context run once.
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from places import SAMPLES
from timing import machine, medians

from hetc.compiler.compile import compile
from hetc.evaluation.running import running
from hetc.evaluation.score_texts import Text, score_texts
from hetc.model.batch_limit import BatchLimit, BatchSize
from hetc.model.generation_config import first_token
from hetc.model.prediction import Predict
from hetc.model.tokenizer import load_tokenizer

SAMPLE, TASK = SAMPLES / "tiny_moe", SAMPLES / "tasks" / "heldout.py"


@dataclass
class Counted:
    """A `Predict` that counts the tokens that are run, and shares beginnings or not."""

    predict: Predict
    limit: BatchLimit
    sharing: bool
    tokens: int = 0

    def __call__(self, windows: np.ndarray, shared: int = 0) -> tuple[np.ndarray, np.ndarray]:
        if not self.sharing:
            self.tokens += windows.size
            losses, hits = self.predict(windows)
            return losses[:, shared:], hits[:, shared:]
        rows = self.limit.rows(windows.shape[1])
        for start in range(0, len(windows), rows):
            part = windows[start : start + rows]
            self.tokens += len(np.unique(part[:, :shared], axis=0)) * shared + part[:, shared:].size
        return self.predict(windows, shared)


def questions(count: int) -> tuple[list[Text], int]:
    """The first questions of the task, a text for each choice, and what pads them."""
    tokenizer, texts = load_tokenizer(SAMPLE), []
    for question in runpy.run_path(str(TASK))["next_lines"]()["test"].select(range(count)):
        # As lm-eval has it: what is blank at a context's end belongs to the choices.
        context = tokenizer.encode(question["context"].rstrip()).ids
        for choice in question["choices"]:
            tokens = tokenizer.encode(question["context"] + choice).ids
            texts.append(Text(tokens, len(tokens) - len(context)))
    return texts, first_token(SAMPLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=24, help="questions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--on", nargs="+", default=["onnxruntime", "torch"])
    parser.add_argument("--mode", default="exact")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts, padding = questions(options.limit)
    print(f"\n{machine()}; {options.threads} threads; {options.limit} questions, mode {options.mode}\n")
    print("| runs on | choices | tokens | s | ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bundle = compile(SAMPLE / "model.onnx", Path(folder) / "bundle", digital_frac=0)
        for name in options.on:
            checkpoint = SAMPLE if name == "torch" else None
            run = partial(running, bundle, checkpoint, threads=options.threads, mode=options.mode)
            ways: dict[str, tuple[BatchSize, bool]] = {
                "one by one": (1, False),
                "8 at a time": (8, False),
                "auto": ("auto", False),
                "auto, context shared": ("auto", True),
            }
            with run() as model:
                asked, tokens = {}, {}
                for way, (batch, sharing) in ways.items():
                    predict = replace(model.predict, limit=BatchLimit.of(batch))
                    counted = Counted(predict, predict.limit, sharing)
                    asked[way] = partial(score_texts, counted, texts, padding=padding)
                    asked[way]()
                    tokens[way] = counted.tokens
                times = medians(asked, seconds=1)
            for way, time in times.items():
                cells = f"{name} | {way} | {tokens[way]:,} | {time:.2f} | {times['one by one'] / time:.2f}"
                print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
