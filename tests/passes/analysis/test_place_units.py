"""Rules, ranks and pins."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hetc.base.errors import UsageError
from hetc.hardware.profile import Profile
from hetc.passes.analysis.place_units import place_units
from hetc.plan.fractions import DigitalFraction
from hetc.plan.plan import PlannedUnit
from hetc.plan.units import Matrix, Unit


def unit(kind: str, layer: int | None = 0, expert: int | None = None, **changes: Any) -> Unit:
    name = kind if layer is None else f"layers.{layer}.{kind}"
    name = name if expert is None else f"layers.{layer}.experts.{expert}"
    matrix = Matrix("up_proj", f"{name}.weight", 600, 10, True, 0)
    fields = {"id": name, "kind": kind, "layer": layer, "expert": expert, "matrices": (matrix,)}
    return Unit(**{**fields, "nodes": (name,), "parameters": 6000, "unsupported": "", **changes})


EXPERTS = [unit("expert", layer, expert) for layer in range(2) for expert in range(4)]
SCORES = {expert.id: float(10 * (expert.layer or 0) + (expert.expert or 0)) for expert in EXPERTS}


def place(units: list[Unit], fraction: str = "0.25", **options: Any) -> dict[str, PlannedUnit]:
    kept = DigitalFraction(fraction)
    placed, _ = place_units(units, SCORES, Profile(), digital_frac=kept, score="maxnn", **options)
    return {one.id: one for one in placed}


def digital(placed: dict[str, PlannedUnit]) -> set[str]:
    return {name for name, one in placed.items() if one.target == "digital"}


def test_best_of_each_layer_is_digital() -> None:
    placed = place(EXPERTS)
    assert digital(placed) == {"layers.0.experts.3", "layers.1.experts.3"}
    assert placed["layers.0.experts.3"].rule == "score-top-k"
    assert "ranks it 1 of 4 in layer 0" in placed["layers.0.experts.3"].reason
    assert placed["layers.0.experts.0"].rank == 3
    assert placed["layers.0.experts.0"].tiles == 2


def test_best_of_the_model_are_digital() -> None:
    assert digital(place(EXPERTS, ranking="model")) == {"layers.1.experts.3", "layers.1.experts.2"}


def test_ties_go_to_the_lower_index() -> None:
    placed, _ = place_units(
        EXPERTS, dict.fromkeys(SCORES, 1.0), Profile(), digital_frac=DigitalFraction("0.25"), score="maxnn"
    )
    assert [one.id for one in placed if one.target == "digital"] == [
        "layers.0.experts.0",
        "layers.1.experts.0",
    ]


@pytest.mark.parametrize("kind", ["attention", "shared_expert", "dense_mlp", "lm_head"])
def test_dense_units_are_digital_unless_pinned(kind: str) -> None:
    assert place([*EXPERTS, unit(kind)])[f"layers.0.{kind}"].rule == "densely-activated"
    pinned = place([*EXPERTS, unit(kind)], analog=[f"layers.*.{kind}"])[f"layers.0.{kind}"]
    assert (pinned.target, pinned.rule, pinned.pinned) == ("analog", "pinned", True)


def test_without_experts_the_fraction_speaks_of_mlps() -> None:
    mlps = [unit("dense_mlp", layer) for layer in range(4)]
    scores = {mlp.id: float(mlp.layer or 0) for mlp in mlps}
    placed, _ = place_units(
        [*mlps, unit("attention")],
        scores,
        Profile(),
        digital_frac=DigitalFraction("0.25"),
        score="maxnn",
        ranking="model",
    )
    assert [one.id for one in placed if one.rule == "score-top-k"] == ["layers.3.dense_mlp"]
    assert [one.rule for one in placed].count("score-rest") == 3


@pytest.mark.parametrize("kind", ["router", "embedding"])
def test_some_units_are_never_analog(kind: str) -> None:
    assert place([unit(kind)])[f"layers.0.{kind}"].rule == "always-digital"
    with pytest.raises(UsageError, match="always digital"):
        place([unit(kind)], analog=["*"])


def test_pins_lead_and_close_the_order() -> None:
    placed = place(EXPERTS, digital=["layers.0.experts.0"], analog=["layers.0.experts.3"])
    assert placed["layers.0.experts.0"].rank == 0
    assert placed["layers.0.experts.3"].rank == 3
    assert digital(placed) == {"layers.0.experts.0", "layers.1.experts.3"}


def test_unsupported_stays_digital_with_its_reason() -> None:
    odd = unit("expert", 0, 0, unsupported="activation 'swish9' has no analog kernel")
    placed = place([odd, *EXPERTS[1:]], "0")
    assert placed["layers.0.experts.0"].rule == "unsupported"
    assert "swish9" in placed["layers.0.experts.0"].reason


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"digital": ["layers.9.*"]}, "matches no unit"),
        ({"digital": ["*.0"], "analog": ["layers.0.*"]}, "both digital and analog"),
    ],
)
def test_bad_pins(pins: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(EXPERTS, **pins)


@given(st.decimals(0, 1, places=4), st.decimals(0, 1, places=4), st.integers(1, 300))
def test_a_larger_fraction_only_adds(first: Decimal, second: Decimal, size: int) -> None:
    low, high = sorted((first, second))
    assert 0 <= DigitalFraction(low).count(size) <= DigitalFraction(high).count(size) <= size


def test_half_rounds_up_exactly() -> None:
    assert DigitalFraction("0.29").count(50) == 15  # 14.5 in decimal, below it in binary
