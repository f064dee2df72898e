"""Reads weights one at a time, straight out of their files, and measures all of them in one pass."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Set
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hetc.base.errors import InvalidInputError
from hetc.base.progress import progress
from hetc.model.external_tensors import data_file, external_tensors, tensor_values
from hetc.model.matrix_norms import MatrixNorms, matrix_norms
from hetc.model.measurement_cache import recall, remember
from hetc.model.weight_pass import FileIdentity, MatrixPlace, MeasuredFile, measure_file
from hetc.plan.units import Matrix

__all__ = [
    "FLOATS",
    "forget_measured",
    "largest_norms",
    "measured_files",
    "neuron_norms",
    "read_matrix",
    "read_tensor",
    "remember_measured",
    "require_finite",
]

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Weight types that the operators take."""
MEASURED, COMPUTED = "hetc.measured_files", "hetc.computed_norms"
"""Where a model's `meta` keeps what was measured: of files, and of weights that are computed when read."""


def read_tensor(model: ir.Model, name: str) -> np.ndarray:
    """The initializer `name`, in its own dtype; a file map where the weight lies in a file.

    Raises:
        InvalidInputError: The weight is a graph input without a value.
    """
    return tensor_values(_tensor(model, name))


def read_matrix(model: ir.Model, matrix: Matrix) -> np.ndarray:
    """The matrix as float32 `[outputs, inputs]`."""
    weight = read_tensor(model, matrix.weight).astype(np.float32)
    return weight if matrix.transposed else weight.T


def neuron_norms(model: ir.Model, matrix: Matrix) -> np.ndarray:
    """Euclidean norm of each output neuron, `[outputs]` float32."""
    weight = read_matrix(model, matrix)
    return np.asarray(np.linalg.norm(weight, axis=1))


def measured_files(model: ir.Model) -> dict[Path, MeasuredFile]:
    """Hash of every weight file of a model, and the norms of the matrices in it.

    What isn't in the cache is read, each file once and several at a time. The result stays with the model.

    Raises:
        InvalidInputError: A file changed while it was read.
    """
    if MEASURED not in model.meta:
        model.meta[MEASURED] = _measure_files(model)
    measured: dict[Path, MeasuredFile] = model.meta[MEASURED]
    return measured


def forget_measured(model: ir.Model) -> None:
    """Has a model's files measured again, from the cache as far as it has them: it refers to others now."""
    model.meta.pop(MEASURED, None)


def remember_measured(model: ir.Model) -> None:
    """Notes the model's files anew: links that were made or removed have changed their time of change."""
    for path, file in model.meta.get(MEASURED, {}).items():
        if path.is_file() and FileIdentity.of(path) == file.identity:
            remember(path, file)


def largest_norms(model: ir.Model, matrix: Matrix) -> MatrixNorms:
    """The largest norm of an output neuron (`row`) and of an input (`column`) of a matrix."""
    tensor = _tensor(model, matrix.weight)
    computed: dict[str, tuple[ir.TensorProtocol, MatrixNorms]] = model.meta.setdefault(COMPUTED, {})
    of, norms = computed.get(matrix.weight, (None, None))
    norms = norms if of is tensor else None
    if isinstance(tensor, ir.ExternalTensor) and (place := _place(tensor)):
        measured = measured_files(model).get(data_file(tensor))
        norms = measured.norms.get(place) if measured else None
    if norms is None:
        norms = matrix_norms(read_tensor(model, matrix.weight))
        if isinstance(tensor, ir.LazyTensor):
            computed[matrix.weight] = (tensor, norms)
    return norms if matrix.transposed else MatrixNorms(norms.column, norms.row)


def require_finite(model: ir.Model, matrix: Matrix) -> None:
    """Raises `InvalidInputError` if the matrix holds a NaN or an infinity."""
    if np.isfinite(largest_norms(model, matrix).row):
        return
    # The square of a large finite weight is infinite in float32, too.
    if not np.isfinite(read_tensor(model, matrix.weight).astype(np.float32)).all():
        raise InvalidInputError(
            f"weight {matrix.weight!r} holds NaN or infinity; a crossbar cannot be programmed with it"
        )


def _tensor(model: ir.Model, name: str) -> ir.TensorProtocol:
    tensor = model.graph.initializers[name].const_value
    if tensor is None:
        raise InvalidInputError(f"weight {name!r} has no value; it must be an initializer, not a graph input")
    return tensor


def _place(tensor: ir.ExternalTensor) -> MatrixPlace | None:
    """Where a matrix lies; None for what is no matrix of floats."""
    shape = tensor.shape.numpy()
    if tensor.dtype not in FLOATS or len(shape) != 2 or 0 in shape:
        return None
    return MatrixPlace(tensor.offset or 0, tensor.dtype.name, *shape)


def _measure_files(model: ir.Model) -> dict[Path, MeasuredFile]:
    matrices: dict[Path, set[MatrixPlace]] = defaultdict(set)
    for _, tensor in external_tensors(model):
        place = _place(tensor)
        matrices[data_file(tensor)] |= {place} if place else set()
    known = {path: recall(path) for path in matrices}
    found = {path: file for path, file in known.items() if file and matrices[path] <= file.norms.keys()}
    missing = [path for path in matrices if path not in found]
    if missing:
        for path, file in zip(missing, _read_files({path: matrices[path] for path in missing}), strict=True):
            remember(path, file)
            found[path] = file
    return found


def _read_files(matrices: Mapping[Path, Set[MatrixPlace]]) -> list[MeasuredFile]:
    stopped = threading.Event()
    with (
        progress("reading weights", sum(path.stat().st_size for path in matrices)) as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def report(read: int) -> None:
            if stopped.is_set():
                raise CancelledError
            advance(read)

        try:
            return list(pool.map(lambda path: measure_file(path, matrices[path], report), matrices))
        finally:
            # After an interrupt the threads must not read on to the end of their files.
            stopped.set()
