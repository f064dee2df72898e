"""Labels that a model draws by itself, for gradients whose squares estimate the Fisher information."""

from __future__ import annotations

import torch

from hetc.runtimes.reference.philox import philox

__all__ = ["draw_labels"]


def draw_labels(probabilities: torch.Tensor, first: int, seed: int) -> torch.Tensor:
    """One label for each token, after the model's own distribution.

    A draw depends on the seed and on which token of the text it follows, not on what is drawn beside it.

    Args:
        probabilities: `[windows, positions, vocabulary]`, float32.
        first: Number of the first of the windows in the text.
        seed: 0 .. 2**63 - 1.

    Returns:
        `[windows, positions]`, integers.
    """
    windows, positions = (torch.arange(size, device=probabilities.device) for size in probabilities.shape[:2])
    words = philox((positions, windows[:, None] + first, 0, 0), (seed % 2**32, seed // 2**32))
    uniform = (words[0] >> 8).float() * 2.0**-24
    below = probabilities.cumsum(-1)
    labels = torch.searchsorted(below, (uniform * below[..., -1])[..., None], right=True)[..., 0]
    return labels.clamp_max_(probabilities.shape[-1] - 1)
