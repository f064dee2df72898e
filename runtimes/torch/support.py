"""Which devices there are, and where the kernels in Triton can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from hetc.base.errors import UsageError
from hetc.runtimes.reference.settings import Crossbar

__all__ = ["device_errors", "kernels_run"]


@contextmanager
def device_errors(name: str) -> Iterator[None]:
    """Turns whatever torch raises about a device that a user named into `UsageError`."""
    try:
        yield
    except Exception as error:  # torch asserts, and raises errors of other libraries
        reason = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} can't be used here: {reason}") from error


def kernels_run(device: torch.device, settings: Crossbar) -> bool:
    """Whether the kernels cover these settings on a device; `hetc.runtimes.torch.crossbar` covers the rest.

    They cover what CUDA devices have but noise of single products and bound management.
    """
    covered = settings.bound_management == "none" and not settings.disturbs
    return covered and device.type == "cuda" and find_spec("triton") is not None
