"""Which tensor of a checkpoint each parameter of the transformers model is.

transformers stacks a checkpoint's experts on loading. Its own table of conversions is read here, so that a
graph can refer to the tensors as they are on disk, under the names that they have there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    rename_source_key,
)

from hetc.errors import InvalidInputError
from hetc.huggingface.placeholder import experts_modules

__all__ = ["WeightNames", "find_weight_names"]

STACKED = {"gate_up_proj": ("gate", "up"), "up_proj": ("up",), "down_proj": ("down",)}
"""Stacked parameter of an experts module -> the projections that it is made of, in order."""


@dataclass
class WeightNames:
    """Names in the checkpoint.

    Attributes:
        parameters: By the model's name of a parameter or buffer.
        experts: By experts module, then expert index, then projection (`gate`, `up`, `down`).
    """

    parameters: dict[str, str] = field(default_factory=dict)
    experts: dict[str, list[dict[str, str]]] = field(default_factory=dict)


def find_weight_names(model: PreTrainedModel, stored: Iterable[str]) -> WeightNames:
    """Match the names in a checkpoint with the model's.

    Args:
        model: as `skeleton.build_skeleton` makes it.
        stored: the names of the checkpoint's tensors.

    Raises:
        InvalidInputError: an expert whose tensors are missing or stored in another form than one matrix each.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    state = model.state_dict()
    modules = dict(experts_modules(model))
    names = WeightNames(experts={path: [{} for _ in range(m.num_experts)] for path, m in modules.items()})
    for key in stored:
        renamed, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if pattern is None:
            names.parameters[renamed] = key
            continue
        path, _, parameter = renamed.rpartition(".")
        if path not in modules:
            continue
        converter = next(one for one in converters if pattern in one.source_patterns)
        projection = _projection(converter, pattern, parameter)
        index = re.search(r"\.experts\.(\d+)\.", key)
        if projection is None or index is None or int(index[1]) >= len(names.experts[path]):
            raise InvalidInputError(
                f"{key}: transformers converts this tensor in a way that cannot be exported"
            )
        names.experts[path][int(index[1])][projection] = key
    _check_complete(model, names)
    return names


def _projection(converter: WeightConverter, pattern: str, parameter: str) -> str | None:
    """The projection that a tensor is, if stacking (and joining gate to up) is all that happens to it."""
    projections = STACKED.get(parameter)
    if projections is None or len(projections) != len(converter.source_patterns):
        return None
    stack, *join = converter.operations
    if not isinstance(stack, MergeModulelist) or stack.dim != 0:
        return None
    if [(type(one), getattr(one, "dim", None)) for one in join] != [(Concatenate, 1)] * (
        len(projections) - 1
    ):
        return None
    return projections[converter.source_patterns.index(pattern)]


def _check_complete(model: PreTrainedModel, names: WeightNames) -> None:
    for path, module in experts_modules(model):
        expected = {"gate", "up", "down"} if module.has_gate else {"up", "down"}
        for index, found in enumerate(names.experts[path]):
            missing = expected - set(found)
            if not missing:
                continue
            stacked = [key for name, key in names.parameters.items() if name.startswith(f"{path}.")]
            reason = f"it holds {stacked[0]!r}, all experts in one tensor; save it" if stacked else "save it"
            raise InvalidInputError(
                f"{path}: the checkpoint has no {' and '.join(sorted(missing))} matrix for expert {index}: "
                f"{reason} with transformers' save_pretrained, which writes one matrix per expert"
            )
