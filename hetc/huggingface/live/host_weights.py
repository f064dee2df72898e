"""Clean weights in the host's memory, for as long as nothing on their device needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["HostWeights"]


class HostWeights:
    """What was taken off the devices of one model, until it is brought back.

    Parameters stay the objects that they are, so that whoever names them, or the modules that have them,
    means the same before and after. What several modules share, such as the embedding that a tied LM head is,
    and what accelerate keeps elsewhere stays where it is.
    """

    def __init__(self, model: nn.Module) -> None:
        """Args: model: The model, with all of its weights where they belong."""
        found = [
            (module, name, parameter)
            for module in model.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None and not parameter.is_meta
        ]
        uses = Counter(parameter.untyped_storage().data_ptr() for _, _, parameter in found)
        self._movable = {
            (module, name)
            for module, name, parameter in found
            if uses[parameter.untyped_storage().data_ptr()] == 1
        }
        self._taken: list[tuple[nn.Parameter, torch.Tensor, torch.device]] = []

    def take(self, module: nn.Module, names: Sequence[str], keep: Sequence[int] = ()) -> bool:
        """Moves parameters of a module to the host.

        Args:
            module: The module.
            names: Which of its parameters: all of them are moved, or none.
            keep: What of their first dimension stays on the device, and is all that they hold from now on.

        Returns:
            Whether they were moved.
        """
        if any((module, name) not in self._movable for name in names):
            return False
        # Parameters can't hold what is made for inference alone, which is how a model computes.
        with torch.inference_mode(False), torch.no_grad():
            for name in names:
                parameter = module.get_parameter(name)
                clean = parameter.data
                self._movable.remove((module, name))
                self._taken.append((parameter, clean.cpu(), clean.device))
                parameter.data = clean[torch.tensor(keep, dtype=torch.int64, device=clean.device)]
        return True

    def bring_back(self) -> None:
        """Puts everything back to where it was."""
        while self._taken:
            parameter, clean, device = self._taken.pop()
            parameter.data = clean.to(device)
