"""What programming does to single weights on average, from the tables of the reference."""

from __future__ import annotations

import torch

from hetc.hardware.profile import Profile
from hetc.runtimes.reference.moments import Moments, moments
from hetc.runtimes.reference.settings import crossbar_of

__all__ = ["squared_errors"]


def squared_errors(weight: torch.Tensor, profile: Profile) -> torch.Tensor:
    """Mean squared error of each programmed weight `[..., outputs, inputs]`, of one K-slice."""
    weight = weight.detach()
    scale = weight.abs().amax(-1, keepdim=True)
    table = torch.from_numpy(moments(crossbar_of(profile, "noisy")).square())
    return table[Moments.cells(weight, scale)] * scale**2
