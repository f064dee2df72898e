"""Neurons: the parts into which a unit divides, each of which can be digital by itself.

An expert, a shared expert and a dense MLP are sums over their intermediate neurons, an attention over its
key/value heads (each with its queries), and an LM head has its vocabulary's rows one by one. Any of these can
be computed digitally and the rest on crossbars: the same function, in exact arithmetic.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.tensors import read_tensors, save_tensors
from hetc.plan.units import Matrix
from hetc.plan.words import Kind

__all__ = [
    "NEVER",
    "Axis",
    "NeuronRanks",
    "axis_of",
    "block_size",
    "count_neurons",
    "parse_neuron",
    "per_line",
]

Axis = Literal["inputs", "outputs"]
"""The side of a matrix along which neurons lie."""

NEURON_ID = re.compile(r"(?P<unit>.+)\.neurons\.(?P<neuron>[0-9]{1,9})$")
NEVER = 2**31 - 1
"""Rank of what no fraction makes digital."""

BLOCKS = re.compile(r"neuron(?::([1-9][0-9]{0,5}))?$")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def block_size(granularity: str) -> int | None:
    """How many neurons are placed together; None for `expert`, which places whole units.

        >>> block_size("expert"), block_size("neuron"), block_size("neuron:16")
        (None, 1, 16)

    Raises:
        UsageError: Something else.
    """
    if granularity == "expert":
        return None
    match = BLOCKS.match(granularity)
    if match is None:
        raise UsageError(f"granularity {granularity!r} is not expert, neuron, or neuron:N such as neuron:16")
    return int(match[1] or 1)


def axis_of(kind: Kind, matrices: Sequence[Matrix], matrix: Matrix) -> Axis:
    """Along which side of a unit's matrix its neurons lie: the last one's inputs are the others' outputs."""
    return "inputs" if kind != "lm_head" and matrix == matrices[-1] else "outputs"


def count_neurons(kind: Kind, matrices: Sequence[Matrix], heads: int = 0) -> int:
    """Into how many neurons a unit divides; 0 if it can only be placed whole.

    Args:
        kind: The unit's kind.
        matrices: Its matrices, in order of use.
        heads: Key/value heads of an attention, 0 where they are not known.
    """
    if kind == "lm_head":
        return matrices[0].outputs if len(matrices) == 1 else 0
    if len(matrices) < 2:
        return 0
    sizes = [matrix.outputs for matrix in matrices[:-1]] + [matrices[-1].inputs]
    if kind == "attention":
        plain = tuple(matrix.projection for matrix in matrices) == ATTENTION
        return heads if plain and heads and all(size % heads == 0 for size in sizes) else 0
    return sizes[0] if kind in ("expert", "shared_expert", "dense_mlp") and len(set(sizes)) == 1 else 0


def parse_neuron(text: str) -> tuple[str, int] | None:
    """A unit's id and the index of one of its neurons; None for what is no neuron's id.

    >>> parse_neuron("layers.3.experts.17.neurons.5")
    ('layers.3.experts.17', 5)
    """
    match = NEURON_ID.match(text)
    return (match["unit"], int(match["neuron"])) if match else None


def per_line(numbers: NDArray[Any], lines: int) -> NDArray[Any]:
    """`[lines]` from `[neurons]`: what each input or output of a matrix has of the neuron it lies in.

    Neurons are equal stretches of lines.
    """
    return np.repeat(numbers, lines // len(numbers))


@dataclass(frozen=True, eq=False, repr=False)
class NeuronRanks:
    """The order in which neurons become digital.

    Attributes:
        ranks: By unit id, `[neurons]` int32: place of each neuron (or of its block) in its group's order.
        scores: By unit id, `[neurons]` float32: what the order comes from.
    """

    ranks: Mapping[str, NDArray[np.int32]]
    scores: Mapping[str, NDArray[np.float32]]

    def __repr__(self) -> str:
        return f"NeuronRanks({sum(map(len, self.ranks.values()))} neurons of {len(self.ranks)} units)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NeuronRanks) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def digest(self) -> str:
        """A hash of all ranks and scores, hexadecimal."""
        found = hashlib.sha256()
        for unit, ranks in self.ranks.items():
            found.update(f"{unit} {len(ranks)} ".encode())
            found.update(ranks.astype("<i4").tobytes())
            found.update(self.scores[unit].astype("<f4").tobytes())
        return found.hexdigest()

    def save(self, path: Path) -> None:
        """Writes a safetensors file with `ranks/UNIT` and `scores/UNIT` for each unit."""
        arrays = {f"ranks/{unit}": ranks for unit, ranks in self.ranks.items()}
        save_tensors(path, {**arrays, **{f"scores/{unit}": one for unit, one in self.scores.items()}}, {})

    @classmethod
    def load(cls, path: Path, sizes: Iterable[tuple[str, int]]) -> NeuronRanks:
        """Reads what `save` wrote.

        Args:
            path: The file.
            sizes: The units that it must hold, in order, each with its number of neurons.

        Raises:
            UsageError: No such file.
            InvalidInputError: An array is missing, or of another type, length or sign.
        """
        _, arrays = read_tensors(path, "neurons")
        ranks: dict[str, NDArray[Any]] = {}
        scores: dict[str, NDArray[Any]] = {}
        for unit, size in sizes:
            for kind, dtype, found in (("ranks", np.int32, ranks), ("scores", np.float32, scores)):
                array = arrays.get(f"{kind}/{unit}")
                if array is None or array.dtype != dtype or array.shape != (size,):
                    raise InvalidInputError(
                        f"neurons {path}: array '{kind}/{unit}' must hold {size} numbers of type "
                        f"{np.dtype(dtype).name}"
                    )
                found[unit] = array
            if size and ranks[unit].min() < 0:
                raise InvalidInputError(f"neurons {path}: array 'ranks/{unit}' has a rank below 0")
        return cls(ranks, scores)
