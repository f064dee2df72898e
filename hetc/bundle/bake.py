"""Bakes programming noise into the weights: any ONNX runtime then computes the noisy model.

    AnalogExpert(x, gate, up, down), noisy  ->  AnalogExpert(x, gate', up', down', .., scales), converters

The primed weights are what the crossbars hold after programming, float32; the scales are those of the clean
weights, so that converters never look at perturbed ones. Function bodies compute exactly this. Single neurons
that are digital stay so, with their clean weights.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from hetc.base.errors import UsageError
from hetc.base.output import whole_folder
from hetc.base.progress import progress
from hetc.bundle.bundle import Bundle, BundleLike, opened_bundle
from hetc.bundle.files import MANIFEST, MODEL, PLAN, WEIGHTS
from hetc.bundle.programming import programmed_weight
from hetc.bundle.writer import finish_bundle, save_model
from hetc.model.load import load_model
from hetc.model.weight_file import WeightFile
from hetc.model.weights import read_tensor
from hetc.operators.words import Store
from hetc.passes.analysis.analog_matrices import (
    AnalogMatrix,
    analog_matrices,
    analog_nodes,
    crossbar_slices,
    set_input,
    weight_scale,
)
from hetc.passes.rewrite.add_analog_bodies import AddAnalogBodies
from hetc.passes.run_passes import run_passes
from hetc.runtimes.onnxruntime.session import require_opens

__all__ = ["bake_bundle"]

logger = logging.getLogger(__name__)

WEIGHT_FILE = "baked.bin"
BAKED_ATTRIBUTES: dict[str, str | int] = {"mode": "converters", "noise_form": "none"}
BAKED_ATTRIBUTES |= {"rank": 0, "group_size": 0}
"""Nothing is programmed again, and no session's digital fraction finds clean weights to run in exact mode."""


def bake_bundle(
    bundle: BundleLike,
    output: str | Path,
    *,
    seed: int | None = None,
    noise_scale: float | None = None,
    drift_time: float | None = None,
    store: Store = "bfloat16",
    approximate: bool = False,
    threads: int | None = None,
    force: bool = False,
) -> Bundle:
    """Writes the noise of one programming seed into the weights of a copy of the bundle.

    The result equals the bundle's noisy session of the same seed, noise scale and store.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "clean.hetc", digital_frac=0.9)
        >>> hetc.bake_bundle(bundle, "baked.hetc", seed=3).baked["seed"]
        3

    Args:
        bundle: The bundle, or its folder.
        output: The folder to make; its model.onnx needs no library.
        seed: Programming seed; None for the plan's.
        noise_scale: Factor c on the programming noise; None for the profile's.
        drift_time: Seconds since programming; None for the profile's.
        store: What programmed weights are kept as: `bfloat16`, `float32` or `int8`. Weights are written as
            float32 in any case.
        approximate: Bake although the noise of every product gets lost.
        threads: Threads of the programming; None leaves it to ONNX Runtime.
        force: Replace an existing bundle.

    Raises:
        UsageError: The bundle is baked already, has no noise to bake or some that cannot be baked, a value
            is out of range, or the output exists.
        RuntimeMissingError: The operator library is not installed.
    """
    bundle, output = opened_bundle(bundle), Path(output)
    _check(bundle, approximate=approximate)
    plan = bundle.plan
    choices = {"seed": seed, "noise_scale": noise_scale, "drift_time": drift_time, "store": store}
    given: dict[str, Any] = {key: value for key, value in choices.items() if value is not None}
    config = {f"hetc.{key}": str(value) for key, value in given.items()}
    compiled = {key: getattr(plan.profile, key) for key in ("noise_scale", "drift_time")}
    record = {"seed": plan.seed, **compiled, **given}
    with whole_folder(output, marker=MANIFEST, force=force) as folder:
        model = load_model(bundle.graph_file).model
        with WeightFile(folder / WEIGHTS / WEIGHT_FILE, folder) as weights:
            _bake_weights(model, bundle.path, weights, config, threads)
            weights.take(model)
        run_passes(model, AddAnalogBodies())
        save_model(model, folder / MODEL)
        require_opens(folder / MODEL, f"bundle {bundle.path}")
        profile = replace(plan.profile, noise_scale=record["noise_scale"], drift_time=record["drift_time"])
        replace(plan, seed=record["seed"], profile=profile).save(folder / PLAN)
        baked = finish_bundle(folder, text_from=bundle.path, baked=record)
    return replace(baked, path=output.absolute())


def _check(bundle: Bundle, *, approximate: bool) -> None:
    profile = bundle.plan.profile
    if bundle.baked is not None:
        raise UsageError(f"bundle {bundle.path} is baked already; bake the bundle that it was made of")
    if bundle.weights_hold is not None:
        raise UsageError(f"bundle {bundle.path}: {bundle.weights_hold}, so that nothing is left to bake")
    if not bundle.plan.noisy:
        raise UsageError(f"bundle {bundle.path} has no analog unit with noise to bake")
    if profile.disturbs and not approximate:
        raise UsageError(
            f"profile {profile.name!r} has noise of every product, which no weight can hold; "
            "--approximate bakes the rest"
        )


def _bake_weights(
    model: ir.Model, folder: Path, weights: WeightFile, config: dict[str, str], threads: int | None
) -> None:
    """Replaces the weights of the analog nodes, matrix by matrix; drops the clean ones."""
    baked: dict[tuple[ir.Value, int], dict[str, ir.Value]] = {}
    nodes = list(analog_nodes(model.graph))
    with progress("programming", len(nodes)) as advance:
        for node in nodes:
            matrices = list(analog_matrices(node))
            for matrix in matrices:
                key = (matrix.weight, matrix.stream)
                if key not in baked:
                    name = f"{matrix.weight.name}.{matrix.stream}"
                    baked[key] = {
                        kind: _register(model.graph, weights.add(f"{name}.{kind}", values))
                        for kind, values in _bake_matrix(model, matrix, folder, config, threads).items()
                    }
                for kind, value in baked[key].items():
                    set_input(node, matrix.input_name(kind), value)
            placed = any(matrix.input_rank or matrix.output_rank for matrix in matrices)
            neurons = {} if placed else {"digital_count": 0}
            for attribute, setting in (BAKED_ATTRIBUTES | neurons).items():
                node.attributes[attribute] = ir.convenience.convert_attribute(attribute, setting)
            logger.info("baked %s", node.attributes["unit"].as_string())
            advance(1)
    run_passes(model, RemoveUnusedNodesPass())


def _bake_matrix(
    model: ir.Model, matrix: AnalogMatrix, folder: Path, config: dict[str, str], threads: int | None
) -> dict[str, NDArray[np.float32]]:
    """The programmed weight, its clean scale, and the ADC bound if the node has one.

    A drift compensation multiplies what follows the ADC. Weight, scale and bound multiplied by its factor
    have that effect, too, and the ADC sees the same codes.
    """
    attributes = matrix.node.attributes
    weight = programmed_weight(matrix, folder, config, threads=threads)
    baked = {"weight": weight, "weight_scale": weight_scale(model, matrix)}
    if matrix.adc_bound is not None:
        baked["adc_bound"] = read_tensor(model, matrix.adc_bound.name or "")
    drift_time = float(config.get("hetc.drift_time", attributes["drift_time"].as_float()))
    if drift_time > 0 and attributes["drift_compensation"].as_string() != "none":
        plain = programmed_weight(matrix, folder, config, threads=threads, compensated=False)
        factors = _ratio(weight, plain, matrix)
        baked.update({kind: baked[kind] * factors for kind in baked if kind != "weight"})
    return baked


def _ratio(
    compensated: NDArray[np.float32], plain: NDArray[np.float32], matrix: AnalogMatrix
) -> NDArray[np.float32]:
    """The compensation factor of each column slice, `[S, N]`; 1 where all analog weights are 0."""
    numerator, denominator = (
        np.stack([np.abs(part).sum(axis=0) for part in crossbar_slices(matrix, weight)])
        for weight in (compensated, plain)
    )
    live = denominator > 0
    return np.where(live, numerator / np.where(live, denominator, np.float32(1)), np.float32(1))


def _register(graph: ir.Graph, tensor: ir.ExternalTensor) -> ir.Value:
    value = ir.val(tensor.name or "", const_value=tensor)
    graph.register_initializer(value)
    return value
