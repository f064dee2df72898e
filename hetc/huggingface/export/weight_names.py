"""Which tensor of a checkpoint each parameter of the transformers model is.

transformers converts a checkpoint on loading; above all it stacks the experts. Its own table of conversions
is read here, so that a graph can refer to the tensors where they are on disk: experts one by one, whether the
checkpoint holds them so or in one stack.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from hetc.base.errors import InvalidInputError
from hetc.huggingface.checkpoint import StoredTensor
from hetc.huggingface.experts import STACKED, experts_modules, split_stack
from hetc.huggingface.export.tensor_files import TensorFiles
from hetc.huggingface.quantised.kept import KeptWeight
from hetc.huggingface.quantised.packed_tensor import PackedTensor

__all__ = ["WeightPlaces", "find_weights"]


@dataclass
class WeightPlaces:
    """Where the weights are.

    Attributes:
        parameters: By the model's name of a parameter or buffer; tied parameters share one.
        experts: By experts module, then expert index, then input of an expert node (`gate`, `up_bias`, ...).
    """

    parameters: dict[str, StoredTensor | KeptWeight] = field(default_factory=dict)
    experts: dict[str, list[dict[str, StoredTensor | KeptWeight]]] = field(default_factory=dict)

    @property
    def files(self) -> set[Path]:
        """The files that hold any of them."""
        experts = (
            stored for all_experts in self.experts.values() for one in all_experts for stored in one.values()
        )
        return {stored.file for stored in (*self.parameters.values(), *experts)}


def find_weights(
    model: PreTrainedModel,
    tensors: Mapping[str, StoredTensor | PackedTensor],
    files: TensorFiles,
    kept: Collection[str] = (),
) -> WeightPlaces:
    """Match the tensors of a checkpoint with the model's parameters, by name and shape.

    Args:
        model: as `skeleton.build_skeleton` makes it.
        tensors: the checkpoint's.
        files: reads tensors that have to be converted, and places the results.
        kept: names of quantised tensors that stay packed where a graph can multiply by them.

    Raises:
        InvalidInputError: a parameter or expert whose tensor is missing, of another shape, or of a type that
            hetc doesn't read.
    """
    state: dict[str, torch.Tensor] = model.state_dict()
    modules = dict(experts_modules(model))
    places = WeightPlaces(experts={path: [{} for _ in range(m.num_experts)] for path, m in modules.items()})

    def settle(key: str, *, whole: bool) -> StoredTensor | KeptWeight:
        """Where a tensor is that needs no change: packed, where all that use it are products."""
        tensor = tensors[key]
        if whole and key in kept and isinstance(tensor, PackedTensor):
            return files.keep(tensor)
        return files.settle(tensor)

    found = _by_parameter(model, tensors, state)
    # All or none: an expert's matrices are alike.
    loose = {name.rpartition(".")[0] for name, one in found.items() if _is_loose(name, one, kept)}
    for name, sources in found.items():
        path, _, parameter = name.rpartition(".")
        converter = sources.converter
        if converter is None:
            (key,) = sources.keys
            if path in modules and parameter.removesuffix("_bias") in STACKED:
                _check_shape(tensors[key], tuple(state[name].shape))
                _unstack(places, path, modules[path], parameter, files.read_experts(tensors[key]), files)
            else:
                linear = isinstance(model.get_submodule(path), nn.Linear)
                places.parameters[name] = settle(key, whole=linear)
        elif path in modules and _is_stack(converter, parameter):
            for key, pattern in sources.keys.items():
                index = re.search(r"\.experts\.(?:expert_)?(\d+)\.", key)
                if index is None or int(index[1]) >= modules[path].num_experts:
                    raise InvalidInputError(f"{key}: not a tensor of this model's {path}")
                projection = STACKED[parameter][converter.source_patterns.index(pattern)]
                places.experts[path][int(index[1])][projection] = settle(key, whole=path not in loose)
        else:
            for target, tensor in _convert(name, sources, tensors, files, model).items():
                path, _, parameter = target.rpartition(".")
                if path in modules and parameter.removesuffix("_bias") in STACKED:
                    _unstack(places, path, modules[path], parameter, tensor, files)
                else:
                    places.parameters[target] = files.place(target, tensor)
    for target, source in model.all_tied_weights_keys.items():
        if target not in places.parameters and source in places.parameters:
            places.parameters[target] = places.parameters[source]
    _check(places, state, modules)
    return places


@dataclass
class _Sources:
    """The checkpoint's tensors that a parameter is made of, each with the pattern that its name matches."""

    converter: WeightConverter | None
    keys: dict[str, str] = field(default_factory=dict)


def _by_parameter(
    model: PreTrainedModel, tensors: Mapping[str, StoredTensor | PackedTensor], state: dict[str, torch.Tensor]
) -> dict[str, _Sources]:
    """The sources of each parameter, found as `from_pretrained` finds them."""
    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    found: dict[str, _Sources] = {}
    for key in sorted(tensors, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if name not in state and key in state:
            name, pattern = key, None
        if name in state:
            converter = None if pattern is None else by_pattern[pattern]
            found.setdefault(name, _Sources(converter)).keys[key] = pattern or key
    return found


def _is_loose(name: str, sources: _Sources, kept: Collection[str]) -> bool:
    """Whether some of the tensors that a stack of matrices is made of don't stay packed."""
    return not name.endswith("_bias") and any(key not in kept for key in sources.keys)


def _is_stack(converter: WeightConverter, parameter: str) -> bool:
    """Whether stacking (and joining gate to up) is all that happens to the tensors of single experts."""
    projections = STACKED.get(parameter, ())
    stack, *join = converter.operations
    return (
        len(projections) == len(converter.source_patterns)
        and isinstance(stack, MergeModulelist)
        and stack.dim == 0
        and [(type(one), getattr(one, "dim", None)) for one in join]
        == [(Concatenate, 1)] * (len(projections) - 1)
    )


def _convert(
    name: str,
    sources: _Sources,
    tensors: Mapping[str, StoredTensor | PackedTensor],
    files: TensorFiles,
    model: PreTrainedModel,
) -> dict[str, torch.Tensor]:
    """What transformers makes of the sources, by name of the parameter."""
    converter: Any = deepcopy(sources.converter)
    for key, pattern in sources.keys.items():
        converter.add_tensor(name, key, pattern, files.read(tensors[key]))
    try:
        converted = converter.convert(name, model=model, config=model.config)
    except Exception as error:  # a converter met tensors that it was not written for
        keys = ", ".join(sources.keys)
        raise InvalidInputError(f"transformers cannot convert {keys} to {name}: {error}") from error
    return {target: tensor[0] if isinstance(tensor, list) else tensor for target, tensor in converted.items()}


def _unstack(
    places: WeightPlaces,
    path: str,
    module: Any,
    parameter: str,
    stack: Iterable[torch.Tensor],
    files: TensorFiles,
) -> None:
    """Place each expert's matrices (or biases) out of a stacked parameter."""
    projections = STACKED[parameter.removesuffix("_bias")]
    kind, suffix = ("bias", "_bias") if parameter.endswith("_bias") else ("weight", "")
    for index, one in enumerate(stack):
        for projection, matrix in zip(projections, split_stack(one, len(projections), module), strict=True):
            name = f"{path}.{index}.{projection}_proj.{kind}"
            places.experts[path][index][projection + suffix] = files.place(name, matrix)


def _check(places: WeightPlaces, state: Mapping[str, torch.Tensor], modules: Mapping[str, Any]) -> None:
    """Every parameter has its tensor, every expert its matrices, of the right shapes."""
    for name, parameter in state.items():
        path, _, stacked = name.rpartition(".")
        shape = tuple(parameter.shape)
        if path not in modules or stacked.removesuffix("_bias") not in STACKED:
            if name not in places.parameters:
                raise InvalidInputError(f"the checkpoint has no tensor for the parameter {name!r}")
            _check_shape(places.parameters[name], shape)
            continue
        kind, suffix = ("bias", "_bias") if stacked.endswith("_bias") else ("matrix", "")
        projections = STACKED[stacked.removesuffix("_bias")]
        *_, part = split_stack(parameter[0], len(projections), modules[path])
        for index, found in enumerate(places.experts[path]):
            for projection in projections:
                if projection + suffix not in found:
                    raise InvalidInputError(
                        f"{path}: the checkpoint has no {projection} {kind} for expert {index}"
                    )
                _check_shape(found[projection + suffix], tuple(part.shape))


def _check_shape(stored: StoredTensor | PackedTensor | KeptWeight, expected: tuple[int, ...]) -> None:
    if stored.shape != expected:
        raise InvalidInputError(
            f"{stored.file}: {stored.name!r} has shape {list(stored.shape)}, "
            f"the configuration asks for {list(expected)}"
        )
