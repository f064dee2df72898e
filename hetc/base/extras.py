"""Packages that only some commands need: an extra of hetc brings them, and errors name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hetc.base.errors import RuntimeMissingError

__all__ = ["needs"]


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around imports: a package that isn't there is an error that says how to install it.

    Args:
        extra: The extra in pyproject.toml that brings the packages.
        what: What needs them; begins the message.

    Raises:
        RuntimeMissingError: An import failed.
    """
    try:
        yield
    except ImportError as error:
        raise RuntimeMissingError(
            f"{what} needs {error.name}, which is not installed; "
            f"run `pip install '.[{extra}]'` in a checkout of hetc"
        ) from error
