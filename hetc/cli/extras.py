"""Commands that need packages of an extra say so by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hetc.base.errors import RuntimeMissingError

__all__ = ["needs", "quieten_lm_eval"]


@contextmanager
def needs(extra: str, command: str) -> Iterator[None]:
    """Around a command's imports: a package that isn't there is an error that names the extra.

    Raises:
        RuntimeMissingError: An import failed.
    """
    try:
        yield
    except ImportError as error:
        raise RuntimeMissingError(
            f"hetc {command} needs {error.name}, which is not installed; pip install 'hetc[{extra}]'"
        ) from error


def quieten_lm_eval() -> None:
    """Before lm-eval is imported: what it would narrate is in our progress line and in the errors."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
