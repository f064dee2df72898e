"""Where the kernels in Triton can run."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from hetc.runtimes.reference.settings import Crossbar

__all__ = ["kernels_run"]


def kernels_run(device: torch.device, settings: Crossbar) -> bool:
    """Whether the kernels cover these settings on a device; `hetc.runtimes.torch.crossbar` covers the rest.

    They cover what CUDA devices have but noise of single products and bound management.
    """
    covered = settings.bound_management == "none" and not settings.disturbs
    return covered and device.type == "cuda" and find_spec("triton") is not None
