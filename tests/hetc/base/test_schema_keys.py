"""What schemas say of their keys, and that every key of a profile says what it means."""

from __future__ import annotations

import pytest

from hetc.base.schema import SCHEMAS
from hetc.base.schema_keys import SchemaKey, schema_keys


def test_every_key_of_a_profile_has_meaning_kind_and_range() -> None:
    for key in schema_keys("profile").values():
        assert key.meaning and key.kind and key.allowed, key


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


@pytest.mark.parametrize("name", SCHEMAS)
def test_all_schemas_can_be_listed(name: str) -> None:
    assert all(key.path for key in schema_keys(name).values())
