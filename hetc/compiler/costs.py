"""What a model, plan or bundle costs, by phase."""

from __future__ import annotations

from pathlib import Path

from hetc.bundle.bundle import Bundle
from hetc.compiler.loading import open_placed
from hetc.compiler.placement import Placement, make_plan
from hetc.costing.cost import Cost, plan_cost, recorded_loads
from hetc.costing.profile import DEFAULT_COSTS, CostProfile, load_costs
from hetc.costing.work import PHASES, Accounting, Phase, Workload
from hetc.hardware.profile import load_profile
from hetc.model.load import LoadedModel
from hetc.plan.calibration import Calibration
from hetc.plan.fractions import FractionLike
from hetc.plan.plan import Plan
from hetc.plan.targets import targets_at

__all__ = ["cost", "open_plan"]


def cost(
    target: str | Path | Bundle | Plan,
    *,
    costs: CostProfile | str | Path = DEFAULT_COSTS,
    batch: int = 32,
    context: int = 1024,
    accounting: Accounting = "serial",
    digital_frac: FractionLike | None = None,
    calibration: Calibration | str | Path | None = None,
) -> dict[Phase, Cost]:
    """Calculates time and energy of prefill and decode.

        >>> import hetc
        >>> found = hetc.cost("samples/tiny_moe/model.onnx", batch=8)
        >>> list(found), found["decode"].tokens
        (['prefill', 'decode'], 8)

    Args:
        target: A bundle, a plan, or the path of one or of a model, which is placed as `hetc compile` does by
            default.
        costs: A cost profile, the name of a built-in one, or the path of a TOML file.
        batch: Sequences.
        context: Tokens of each prompt, and in each cache when decoding; 0 leaves the prefill out.
        accounting: `serial`, `overlapped` or `digital-only`.
        digital_frac: Another fraction of the experts to keep digital.
        calibration: Expert loads from this recording instead of top-k over E.

    Raises:
        UsageError: No such file, or a value out of range.
        InvalidInputError: A file that cannot be used, or a calibration of another model.
    """
    plan = open_plan(target)
    system = costs if isinstance(costs, CostProfile) else load_costs(costs)
    if calibration is not None and not isinstance(calibration, Calibration):
        calibration = Calibration.load(Path(calibration))
    units = plan.units if digital_frac is None else targets_at(plan, digital_frac)
    loads = None if calibration is None else recorded_loads(plan, calibration)
    # A prompt has at least one token; a cache may be empty.
    steps = [Workload(phase, batch, context) for phase in PHASES if context or phase == "decode"]
    return {step.phase: plan_cost(units, system, step, accounting, loads) for step in steps}


def open_plan(target: str | Path | Bundle | Plan) -> Plan:
    """The plan of a bundle, of a plan.json, or the one that `hetc compile` makes of a model by default.

    Raises:
        UsageError: Nothing is there.
        InvalidInputError: It cannot be read.
    """
    opened = target if isinstance(target, (Bundle, Plan)) else open_placed(target)
    if isinstance(opened, LoadedModel):
        return make_plan(opened, Placement(), load_profile())
    return opened.plan if isinstance(opened, Bundle) else opened
