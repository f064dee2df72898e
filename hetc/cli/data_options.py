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
            help="For text: folder of its tokenizer, or hf://OWNER/NAME.  [default: the model's]",
        )
        @wraps(command)
        def with_tokens(*arguments: Any, data: Path | None, tokenizer: Path | None, **options: Any) -> Any:
            found = tokenizer if tokenizer or data is None else _tokenizer_of_model(data, options)
            if data is None or found is None:
                return command(*arguments, data=data, **options)
            from hetc.model.token_files import read_tokens

            return command(*arguments, data=read_tokens(data, found), **options)

        return with_tokens

    return add


def _tokenizer_of_model(data: Path, options: Mapping[str, Any]) -> str | Path | None:
    """The tokenizer of the model that a text is for, if it is one and there is one."""
    from hetc.model.hub import as_hub_id, is_hub_id
    from hetc.model.model_folder import text_folder
    from hetc.model.token_files import is_text

    if not is_text(data):
        return None
    name = next(name for name in MODELS if options.get(name) is not None)
    model = Path(options[name])
    if is_hub_id(model) or (name == "checkpoint" and not model.exists()):
        return as_hub_id(options[name])
    folder = model if model.is_dir() else text_folder(model)
    file = folder / "tokenizer.json"
    return file if file.is_file() else None
