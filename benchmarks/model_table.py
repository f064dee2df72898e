"""Writes docs/models.md: what `hetc export` does with each model type that transformers has experts for.

Run as `make models-table`; takes about half an hour.
Each model type is checked as tests/hetc/huggingface/export/test_model_types.py checks it, in a process of
its own, whose memory ends with it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import textwrap
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from model_types import OWN_EXPERTS, causal_model_types
from test_model_types import TOLERANCE, check_model_type

OUTPUT = Path(__file__).parent.parent / "docs" / "models.md"
OTHERS = "\n## Other exporters"
"""Where the part of benchmarks/exporters_table.py begins, which stays."""
TIME = 600
"""Seconds that a model type may take."""

TEXT = """# Model types

Written by `benchmarks/model_table.py` with transformers {transformers} and torch {torch}.

{count} model types have a causal language model behind transformers' experts interface. {equal_count} of them
are equal to transformers: tiny random models, logits within {tolerance:g}, for two prompts of which one is
padded, whole, token by token and in chunks with the cache, and for a prompt of 70 tokens; those with state
spaces or linear attention also for prompts of 1 and of 300 tokens.

{equal}

Outside the interface: {own}, checked in the same way, and `deepseek` (DeepSeekMoE-16B), equal to an
implementation in plain torch (`tests/hetc/huggingface/test_deepseek.py`).

Models without experts go the same way; `llama` and `gpt2` are tested
(`tests/hetc/huggingface/test_dense_model.py`).

| not supported | why |
|---|---|
{refused}

Checkpoints of float32, float16 and bfloat16 are read, one tensor per expert or all experts of a layer in one,
and [quantised ones](quantised.md).
"""


def check(model_type: str, queue: multiprocessing.Queue[str]) -> None:
    """Put the outcome for a model type into `queue`: empty if equal, else what was in the way."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        try:
            queue.put(check_model_type(model_type, Path(folder)))
        except AssertionError as error:
            queue.put(f"exported, but differs from transformers: {error}")
        except Exception as error:  # whatever transformers or the runtime raises
            queue.put(f"failed: {type(error).__name__}: {error}")


def outcome(model_type: str) -> str:
    """Check a model type in a new process."""
    queue: multiprocessing.Queue[str] = multiprocessing.Queue()
    process = multiprocessing.Process(target=check, args=(model_type, queue))
    process.start()
    process.join(TIME)
    if process.is_alive():
        process.kill()
        process.join()
        return f"not tested: takes more than {TIME} s"
    return queue.get(timeout=10)


def main() -> None:
    """Check all model types and write the table."""
    reasons = {}
    interface = set(causal_model_types())
    for model_type in sorted(interface | set(OWN_EXPERTS)):
        reasons[model_type] = " ".join(outcome(model_type).split()).replace("|", "\\|")
        print(model_type, reasons[model_type] or "equal", flush=True)
    equal = [model_type for model_type, reason in reasons.items() if not reason and model_type in interface]
    own = [model_type for model_type in OWN_EXPERTS if not reasons[model_type]]
    refused = [f"| `{model_type}` | {reason} |" for model_type, reason in reasons.items() if reason]
    text = TEXT.format(
        transformers=version("transformers"),
        torch=version("torch"),
        count=len(interface),
        equal_count=len(equal),
        tolerance=TOLERANCE,
        equal=textwrap.fill(", ".join(f"`{model_type}`" for model_type in equal), 100),
        own=", ".join(f"`{model_type}`" for model_type in own),
        refused="\n".join(refused),
    )
    _, heading, others = OUTPUT.read_text("utf-8").partition(OTHERS)
    OUTPUT.write_text(text + heading + others, encoding="utf-8")


if __name__ == "__main__":
    main()
