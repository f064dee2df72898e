"""The options of commands that read tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = ["data_options"]

FILES = (
    "Text, or token ids: .npz with an array `tokens` (hetc tokens writes them), .npy, .parquet with a column "
    "`tokens` or `input_ids`."
)
MODELS = ("model", "bundle", "checkpoint", "target")
"""What commands call the argument whose folder may hold the tokenizer."""

Command = Callable[..., Any]


def data_options(*, required: bool = True) -> Callable[[Command], Command]:
    """Adds `--data` and `--tokenizer` to a command, which gets `data`: a path, or the tokens of a text."""

    def add(command: Command) -> Command:
        @click.option("--data", required=required, type=click.Path(path_type=Path), help=FILES)
        @click.option(
            "--tokenizer",
            type=click.Path(path_type=Path),
            help="For text: folder of its tokenizer.  [default: the model's]",
        )
        @wraps(command)
        def with_tokens(*arguments: Any, data: Path | None, tokenizer: Path | None, **options: Any) -> Any:
            if data is not None:
                tokenizer = tokenizer or _tokenizer_of_model(data, options)
            if data is None or tokenizer is None:
                return command(*arguments, data=data, **options)
            from hetc.model.token_files import read_tokens

            return command(*arguments, data=read_tokens(data, tokenizer), **options)

        return with_tokens

    return add


def _tokenizer_of_model(data: Path, options: Mapping[str, Any]) -> Path | None:
    """The tokenizer beside the model that a text is for, if it is one and there is one."""
    from hetc.model.token_files import is_text

    if not is_text(data):
        return None
    model = Path(next(options[name] for name in MODELS if options.get(name) is not None))
    file = (model if model.is_dir() else model.parent) / "tokenizer.json"
    return file if file.is_file() else None
