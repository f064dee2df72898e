"""What `hetc compile` shows of a placement: every unit that can be analog, wherever it is."""

from __future__ import annotations

import pytest
from models import moe_model

from hetc.cli.summary import LAYERS_SHOWN, print_plan
from hetc.compiler.placement import Placement, make_plan
from hetc.hardware.profile import Profile
from hetc.model.load import load_model


def summary(capsys: pytest.CaptureFixture[str], layers: int) -> list[str]:
    placement = Placement(digital_frac="0.5", analog=("lm_head",))
    print_plan(make_plan(load_model(moe_model(layers=layers)), placement, Profile()))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_layers_experts_and_the_lm_head(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = summary(capsys, 2)[:4]
    assert head.split("  ")[0] == "layer"
    for layer, row in enumerate(rows[:2]):
        number, count, *experts, analog, dense, target = row.split()
        assert (number, count, len(experts), analog) == (str(layer), "2:", 2, "2")
        assert (dense, target) == ("attention", "digital")
    assert rows[2].strip() == "lm_head analog"


def test_deep_models_show_their_first_layers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, LAYERS_SHOWN + 3)
    assert lines[LAYERS_SHOWN].startswith(str(LAYERS_SHOWN - 1))
    assert lines[LAYERS_SHOWN + 1].strip() == "lm_head analog"
    assert lines[LAYERS_SHOWN + 2].startswith("... and 3 more layers")
