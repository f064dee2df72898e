"""The options of commands that read tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = ["data_options"]

FILES = "Tokens: .npz with an array `tokens`, .npy, .parquet; or text."

Command = Callable[..., Any]


def data_options(*, required: bool = True) -> Callable[[Command], Command]:
    """Adds `--data` and `--tokenizer` to a command, which gets `data`: a path, or the tokens of a text."""

    def add(command: Command) -> Command:
        @click.option("--data", required=required, type=click.Path(path_type=Path), help=FILES)
        @click.option(
            "--tokenizer", type=click.Path(path_type=Path), help="For text: folder of its tokenizer."
        )
        @wraps(command)
        def with_tokens(*arguments: Any, data: Path | None, tokenizer: Path | None, **options: Any) -> Any:
            if data is None or tokenizer is None:
                return command(*arguments, data=data, **options)
            from hetc.model.token_files import read_tokens

            return command(*arguments, data=read_tokens(data, tokenizer), **options)

        return with_tokens

    return add
