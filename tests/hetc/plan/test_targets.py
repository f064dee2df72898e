"""What a fraction makes of a plan that was made at another one."""

from __future__ import annotations

import pytest
from report_data import PLAN

from hetc.plan.targets import at_fraction


@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 1])
def test_a_fraction_decides_whatever_the_plan_had(fraction: float) -> None:
    """Below the plan's own as well: nothing of a unit stays digital that is analog."""
    chosen = at_fraction(PLAN, fraction)
    experts = [unit for unit in chosen.units if unit.kind == "expert"]
    assert sum(unit.digital_share for unit in experts) == fraction * len(experts)
    assert at_fraction(at_fraction(PLAN, 0), PLAN.digital_frac).units == PLAN.units
