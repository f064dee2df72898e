"""Records a calibration: the model runs in exact mode, all analog, and its kernels count what they see."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from hetc.base.errors import InvalidInputError
from hetc.bundle.writer import write_bundle
from hetc.compiler.pipeline import Placement, load_moe_model, make_plan
from hetc.hardware.profile import Profile
from hetc.model.inputs import first_step
from hetc.passes.analysis.find_units import find_units
from hetc.passes.rewrite.lower_analog import LowerAnalog
from hetc.passes.rewrite.record_routing import RecordRouting
from hetc.plan.calibration import UNITS_PER_ONE, Calibration, Routing
from hetc.plan.units import Unit

__all__ = ["record"]

logger = logging.getLogger(__name__)


def record(model: str | Path, windows: np.ndarray, profile: Profile, *, batch: int = 8) -> Calibration:
    """Runs `windows` through the model and returns what its crossbars and routers saw.

    Args:
        model: Path of the model.
        windows: Token ids `[windows, window]`.
        profile: The hardware; its tile decides the K-slices.
        batch: Windows per run; it doesn't change the result.

    Raises:
        UsageError: The path isn't there.
        InvalidInputError: A model that cannot be compiled or doesn't take `input_ids`.
        RuntimeMissingError: The operator library is not installed.
    """
    loaded = load_moe_model(model)
    units = find_units(loaded.model)
    analog = tuple(unit.id for unit in units if unit.counted and not unit.unsupported)
    plan = make_plan(loaded, Placement(digital_frac=0, score="random", analog=analog), profile)
    plan = replace(plan, source={**plan.source, "file": ""})  # nothing but the graph and weights is needed
    RecordRouting(units)(loaded.model)
    LowerAnalog(plan)(loaded.model)
    calibration = Calibration(loaded.source["sha256"], profile.tile_rows)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(loaded.model, plan, Path(folder, "recording"))
        lines = Path(folder, "lines")
        lines.touch()
        session = bundle.session(mode="exact", stats_file=lines)
        if "input_ids" not in {value.name for value in session.get_inputs()}:
            raise InvalidInputError(f"model {model}: calibration needs a model that takes input_ids")
        names = [output.name for output in session.get_outputs() if output.name.startswith("routing.")]
        for start in range(0, len(windows), batch):
            tokens = windows[start : start + batch]
            outputs = session.run(names, first_step(session, tokens))
            _count_routing(calibration, units, dict(zip(names, outputs, strict=True)))
            calibration.tokens += tokens.size
            logger.info("recorded %s of %s windows", start + len(tokens), len(windows))
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
