"""Cost profiles: every constant has a unit and a source or a reason, and what breaks that is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import hetc

from hetc.base.errors import InvalidInputError, UsageError
from hetc.costing.profile import Constant, built_in_costs, cost_file_text, load_costs


@pytest.mark.parametrize("name", ["a100+pcm-3d", "h100+pcm-3d", "harp", "hermes64"])
def test_built_in_constants_have_sources(name: str) -> None:
    assert name in built_in_costs()
    costs = load_costs(name)
    assert costs.name == name
    for section in (costs.digital, costs.analog, costs.link):
        assert vars(section)
        for key, constant in vars(section).items():
            assert len(constant.source or constant.assumption) > 10, key


def test_units_become_si() -> None:
    assert Constant(10, "nJ", "x").si == pytest.approx(1e-8)
    assert Constant(1, "pJ/bit", "x").si == pytest.approx(8e-12)
    assert Constant(2, "B", "x").si == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit = "TB/s"', 'unit = "GB/s"', 'digital.memory_bandwidth.unit is "GB/s"; it must be TB/s'),
        (
            "value = 400",
            "value = -400",
            "digital.power.value is -400; it must be a number from 1e-12",
        ),
        ("product_time", "mvm_time", "unknown key analog.mvm_time"),
        (
            "[link]",
            'colour = { value = 1, unit = "W", source = "x" }\n[link]',
            "unknown key analog.colour; known are tile_rows",
        ),
        ("value = 400", 'value = "much"', 'digital.power.value is "much"; it must be a number'),
        ("[link]", "[wire]", "unknown key wire"),
        ("name = ", "name = = ", "harp"),
        (
            ', source = "IBM/HARP README" }',
            " }",
            "it must be a table with value, unit, and a source or an assumption",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "harp.toml"
    file.write_text(cost_file_text("harp").replace(old, new, 1))
    with pytest.raises(InvalidInputError, match="harp") as error:
        load_costs(file)
    assert message in str(error.value)


def test_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match="neither a file nor one of"):
        load_costs("abacus")


def test_profiles_lists_and_shows_them() -> None:
    listed = hetc("profiles", "list").stdout
    assert all(name in listed for name in built_in_costs())
    assert hetc("profiles", "show", "harp").stdout == cost_file_text("harp")
