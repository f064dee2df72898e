"""Records a calibration: the model runs in exact mode, all analog, and its kernels count what they see."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from hetc.base.errors import InvalidInputError, OutputError, UsageError
from hetc.base.output import whole_file
from hetc.base.progress import progress
from hetc.base.workspace import workspace
from hetc.compiler.loading import ModelLike, find_model, load_moe_model
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import DEFAULT_PROFILE, Profile, load_profile
from hetc.model.inputs import first_step, prompt_shape
from hetc.model.load import sha256
from hetc.model.model_folder import text_folder
from hetc.model.tokens import TokensLike, token_windows
from hetc.model.weight_file import weights_folder
from hetc.operators import schemas
from hetc.passes.analysis.find_units import find_units
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.passes.rewrite.record_routing import RecordRouting
from hetc.passes.run_passes import run_passes
from hetc.plan.calibration import UNITS_PER_ONE, Calibration, Routing
from hetc.plan.units import Unit
from hetc.runtimes.onnxruntime.run_model import run_model
from hetc.runtimes.onnxruntime.session import open_graph

__all__ = ["calibrate"]


def calibrate(
    model: ModelLike,
    data: TokensLike | None = None,
    output: str | Path | None = None,
    *,
    window: int = 256,
    profile: Profile | str | Path = DEFAULT_PROFILE,
    merge: Sequence[Calibration | str | Path] = (),
    batch: int = 8,
    force: bool = False,
) -> Calibration:
    """Records what enters a model's crossbars and how often each expert is chosen.

        >>> import hetc, numpy
        >>> tokens = numpy.load("samples/tiny_moe/calibration.npz")["tokens"]
        >>> recorded = hetc.calibrate("samples/tiny_moe/model.onnx", tokens.reshape(-1)[:512])
        >>> recorded
        Calibration(512 tokens, 137 crossbar inputs, 64 experts)

    Args:
        model: What `hetc.compile` takes.
        data: Token ids: an array of integers, or the path of an .npz file with an array `tokens`. It is cut
            into windows; a rest shorter than one is left out.
        output: A file to write, `.safetensors`; None for none.
        window: Tokens in a row.
        profile: The hardware; its tile decides the K-slices.
        merge: Calibrations of the same model to add.
        batch: Windows per run; it doesn't change the result.
        force: Replace an existing file.

    Raises:
        UsageError: Nothing to calibrate with, the path isn't there, or the output exists.
        InvalidInputError: A model that cannot be compiled or takes no `input_ids`, or a calibration of
            another model or tile.
        RuntimeMissingError: The operator library is not installed.
    """
    if data is None and not merge:
        raise UsageError("nothing to calibrate with; give --data, --merge, or both")
    hardware = profile if isinstance(profile, Profile) else load_profile(profile)
    parts = [one if isinstance(one, Calibration) else Calibration.load(Path(one)) for one in merge]
    file = find_model(Path(model)) if isinstance(model, (str, Path)) else None
    with nullcontext() if output is None else whole_file(Path(output), force=force) as staging:
        if data is not None:
            parts.append(_record(model, token_windows(data, window), hardware, batch))
        whole = Calibration("" if file is None else sha256(file), hardware.tile_rows)
        for part in parts:
            whole.merge(part)
        if staging is not None:
            whole.save(staging)
    return whole


def _record(model: ModelLike, windows: np.ndarray, profile: Profile, batch: int) -> Calibration:
    """Runs `windows` `[windows, window]` through the model, whose weights stay in their files."""
    loaded = load_moe_model(model)
    units = find_units(loaded.model)
    analog = tuple(unit.id for unit in units if unit.counted and not unit.unsupported)
    plan = make_plan(loaded, Placement(digital_frac=0, score="random", analog=analog), profile)
    schemas.register()
    run_passes(loaded.model, RecordRouting(units), LowerAnalog(plan))
    calibration = Calibration(loaded.source["sha256"], profile.tile_rows)
    with workspace() as temporary:
        lines = temporary / "lines"
        lines.touch()
        folder = weights_folder(loaded.model, loaded.folder, temporary)
        try:
            session = open_graph(loaded.model, folder, {"hetc.mode": "exact", "hetc.stats_file": str(lines)})
        except UsageError as error:
            if "hetc.stats_file" in str(error):
                raise OutputError(str(error)) from error
            raise
        if "input_ids" not in {value.name for value in session.get_inputs()}:
            raise InvalidInputError(f"{loaded.name}: calibration needs a model that takes input_ids")
        given = [output.name for output in session.get_outputs()]
        # A dense model has no routing; something has to be asked for all the same.
        names = [name for name in given if name.startswith("routing.")] or given[-1:]
        rows, _ = prompt_shape(session, batch, windows.shape[1])
        beside = text_folder(Path(loaded.source["file"]))
        with progress("calibrating", len(windows)) as advance:
            for start in range(0, len(windows), rows):
                tokens = windows[start : start + rows]
                outputs = run_model(session, names, first_step(session, tokens, beside))
                _count_routing(calibration, units, dict(zip(names, outputs, strict=True)))
                calibration.tokens += tokens.size
                advance(len(tokens))
        del session  # its kernels write what they counted when they end
        calibration.add_recording(lines)
    return calibration


def _count_routing(calibration: Calibration, units: tuple[Unit, ...], outputs: dict[str, np.ndarray]) -> None:
    for unit in units:
        if unit.kind != "expert":
            continue
        chosen = outputs[f"routing.{unit.layer}.index"] == unit.expert
        weights = outputs[f"routing.{unit.layer}.weight"][chosen].astype(np.float64)
        use = calibration.routing.setdefault(unit.id, Routing())
        use.tokens += int(chosen.sum())
        use.weight += int(np.rint(weights * UNITS_PER_ONE).astype(np.int64).sum())
