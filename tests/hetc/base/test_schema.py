"""Schemas: all are published and versioned, and what doesn't fit is said in words."""

from __future__ import annotations

import pytest
from places import ROOT

from hetc.base.errors import InvalidInputError
from hetc.base.schema import SCHEMAS, check_record, read_schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_published_and_versioned(name: str) -> None:
    from jsonschema import Draft202012Validator

    schema = read_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:hetc:{name}:1"
    published = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    assert published.resolve() == (ROOT / SCHEMAS[name].replace(".", "/") / published.name)
    assert f"schemas/{published.name}" in (ROOT / "docs" / "formats.md").read_text()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "the whole is []; it must be a table"),
        ({}, "name is missing"),
        ({"name": 5}, "name is 5; it must be text"),
        ({"name": ""}, 'name is ""; it must be text of 1 characters or more'),
        ({"name": "x", "colour": 1}, "unknown key colour; known are name, tile, converters"),
        ({"name": "x", "tile": {"rows": 0}}, "tile.rows is 0; it must be a whole number from 1 to 1048576"),
        ({"name": "x", "tile": {"rows": 2.0}}, "tile.rows is 2.0; it must be a whole number"),
        ({"name": "x", "drift": {"compensation": "\x1b[2J"}}, "it must be one of none, global, column"),
        ({"name": "x", "noise": {"model": "m", "sigma": [1]}}, "noise.sigma needs noise.form, too"),
        ({"name": "x", "noise": {"sigma": [0, float("nan")]}}, "noise.sigma[1] is nan; it must be a finite"),
        ({"name": "x" * 999}, "...; it must be text of at most 200 characters"),
    ],
)
def test_what_is_wrong_is_said(record: object, message: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        check_record(record, "profile", "profile mine.toml")
    said = str(error.value)
    assert said.startswith("profile mine.toml: ") and message in said
    assert said.isprintable() and len(said) < 300
