"""What people run over an exported model: optimizers, simplifiers, quantisers and converters to 16 bits.

Each function reads a model and writes another one.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.inliner
import onnxruntime

__all__ = ["TOOLS"]

LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def _without_functions(source: Path) -> onnx.ModelProto:
    """The model as tools of others take it: weights inside, functions written out."""
    return onnx.inliner.inline_local_functions(onnx.load(source))


def _onnxslim(source: Path, target: Path) -> None:
    import onnxslim

    # Its shape inference takes the parts of a Split by data for equal, and ONNX Runtime believes it.
    onnx.save(onnxslim.slim(_without_functions(source), no_shape_infer=True), target)


def _onnxsim(source: Path, target: Path) -> None:
    import onnxsim

    with contextlib.redirect_stdout(io.StringIO()):
        simplified, _ = onnxsim.simplify(_without_functions(source))
    onnx.save(simplified, target)


def _session(source: Path, target: Path, *, level: str) -> None:
    """The model as a session of ONNX Runtime writes it after its own optimization."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _transformers_optimizer(source: Path, target: Path) -> None:
    from onnxruntime.transformers import optimizer

    optimized = optimizer.optimize_model(_without_functions(source), "gpt2", opt_level=0)
    optimized.save_model_to_file(str(target))


def _float16_by_onnx_runtime(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(_without_functions(source), keep_io_types=True), target)


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Of 7 bits, since ONNX Runtime's sums of 8 saturate on CPUs without VNNI.
    quantize_dynamic(_without_functions(source), target, weight_type=QuantType.QInt8, reduce_range=True)


def _four_bits(source: Path, target: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(_without_functions(source), block_size=16)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "onnxslim": _onnxslim,
    "onnxsim": _onnxsim,
    "session, basic": functools.partial(_session, level="basic"),
    "session, extended": functools.partial(_session, level="extended"),
    "session, all": functools.partial(_session, level="all"),
    "transformers optimizer": _transformers_optimizer,
    "float16 by ONNX Runtime": _float16_by_onnx_runtime,
    "quantize_dynamic": _dynamic,
    "MatMulNBits": _four_bits,
}
