"""What schemas say of their keys, and that every key of a profile says what it means."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hetc.base.schema import SCHEMAS
from hetc.base.schema_keys import SchemaKey, schema_keys
from hetc.evaluation.sweep_spec import Sweep
from hetc.hardware.profile import DEFAULT_PROFILE


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_says_what_it_means(name: str) -> None:
    assert schema_keys(name)
    for key in schema_keys(name).values():
        assert key.meaning and key.kind, key


def test_what_a_key_says() -> None:
    keys = schema_keys("profile")
    assert keys["converters.dac_bits"] == SchemaKey(
        "converters.dac_bits",
        "integer",
        "bits",
        "0 (no converter) or a whole number from 2 to 16",
        "resolution of the input converters",
    )
    assert keys["drift.compensation"].allowed == "one of none, global, column"
    assert keys["noise.sigma"].allowed == "a list, each a number from -1e6 to 1e6"
    assert keys["noise.drift_mean[].exponent"].kind == "number"
    assert keys["tile"].kind == "object"
    assert keys["drift.time"].comment == "Time between programming and use [s]. Seconds from 0 to 1e12."


def test_names_that_users_choose_and_definitions_that_are_narrowed() -> None:
    assert schema_keys("manifest")["files.*.size"].unit == "B"
    assert schema_keys("costs")["digital.power.unit"].allowed == "W"
    assert schema_keys("costs")["digital.power.value"].required


def test_defaults_of_a_sweep_are_those_that_it_takes() -> None:
    defaults = {each.name: each.default for each in fields(Sweep)}
    said = {path: key.default for path, key in schema_keys("sweep").items() if key.default is not None}
    assert {"seeds", "fractions", "device"} <= said.keys()
    for name, default in said.items():
        if name != "profile":
            assert (list(defaults[name]) if isinstance(default, list) else defaults[name]) == default, name
    assert said["profile"] == DEFAULT_PROFILE
