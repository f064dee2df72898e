"""Which tensor of a checkpoint each parameter of the transformers model is.

transformers stacks a checkpoint's experts on loading. Its own table of conversions is read here, so that a
graph can refer to the tensors as they are on disk, under the names that they have there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.placeholder import experts_modules

__all__ = ["WeightNames", "find_weight_names"]

STACKED = {"gate_up_proj": ("gate", "up"), "up_proj": ("up",), "down_proj": ("down",)}
"""Stacked parameter of an experts module -> the projections that it is made of, in order."""


@dataclass
class WeightNames:
    """Names in the checkpoint.

    Attributes:
        parameters: By the model's name of a parameter or buffer; tied parameters share one.
        experts: By experts module, then expert index, then projection (`gate`, `up`, `down`).
    """

    parameters: dict[str, str] = field(default_factory=dict)
    experts: dict[str, list[dict[str, str]]] = field(default_factory=dict)


def find_weight_names(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> WeightNames:
    """Match the tensors of a checkpoint with the model's parameters, by name and shape.

    Args:
        model: as `skeleton.build_skeleton` makes it.
        tensors: the checkpoint's.

    Raises:
        InvalidInputError: a parameter or expert whose tensor is missing, of another shape, or stored in a
            form that the graph cannot refer to.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    state = model.state_dict()
    modules = dict(experts_modules(model))
    names = WeightNames(experts={path: [{} for _ in range(m.num_experts)] for path, m in modules.items()})
    for key in tensors:
        renamed, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        path, _, parameter = renamed.rpartition(".")
        if pattern is None:
            names.parameters[renamed] = key
        elif path in modules:
            converter = next(one for one in converters if pattern in one.source_patterns)
            projection = _projection(converter, pattern, parameter)
            index = re.search(r"\.experts\.(\d+)\.", key)
            if projection is None or index is None or int(index[1]) >= modules[path].num_experts:
                raise InvalidInputError(
                    f"{key}: not a tensor of this model that a graph can refer to as it is"
                )
            names.experts[path][int(index[1])][projection] = key
    for target, source in model.all_tied_weights_keys.items():
        if target not in names.parameters and source in names.parameters:
            names.parameters[target] = names.parameters[source]

    for name, parameter in state.items():
        path, _, stacked = name.rpartition(".")
        if path in modules:
            _check_experts(names, tensors, path, STACKED[stacked], tuple(parameter.shape))
            continue
        if name not in names.parameters:
            raise InvalidInputError(f"the checkpoint has no tensor for the parameter {name!r}")
        _check_shape(tensors[names.parameters[name]], tuple(parameter.shape))
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


def _check_experts(
    names: WeightNames,
    tensors: Mapping[str, StoredTensor],
    path: str,
    projections: tuple[str, ...],
    stacked_shape: tuple[int, ...],
) -> None:
    """Check what the stacked parameter `[experts, projections * outputs, inputs]` is made of."""
    _, outputs, inputs = stacked_shape
    for index, found in enumerate(names.experts[path]):
        for projection in projections:
            if projection not in found:
                raise InvalidInputError(
                    f"{path}: the checkpoint has no {projection} matrix for expert {index}; if it holds all "
                    "experts in one tensor, load and save it with transformers, which writes one per expert"
                )
            _check_shape(tensors[found[projection]], (outputs // len(projections), inputs))


def _check_shape(stored: StoredTensor, expected: tuple[int, ...]) -> None:
    if stored.shape != expected:
        raise InvalidInputError(
            f"{stored.file}: {stored.name!r} has shape {list(stored.shape)}, "
            f"the configuration asks for {list(expected)}"
        )
