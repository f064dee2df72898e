"""A manifest that somebody changed is refused by key, or means a bundle that is as it was compiled."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from command_line import hetc as run_hetc
from models import moe_model

import hetc
from hetc.base.errors import InvalidInputError
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.bundle.files import MANIFEST

KEYS = ["", "files", "baked", "../../etc/passwd", "/etc/passwd", "x\0y"]
VALUES: list[Any] = [None, True, -1, 0, 1.5, 10**400, 2**63, 1e308, "", "x", "../..", [], [1], {}, {"a": {}}]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return hetc.compile(moe_model(layers=1), tmp_path_factory.mktemp("manifest") / "bundle")


@pytest.fixture(scope="module")
def baked(bundle: Bundle) -> Bundle:
    return hetc.bake_bundle(bundle, bundle.path.with_name("baked"))


@pytest.fixture
def written(bundle: Bundle, baked: Bundle) -> Iterator[Any]:
    """A function that gives a bundle another manifest; what was there comes back."""
    kept = {one.path / MANIFEST: (one.path / MANIFEST).read_bytes() for one in (bundle, baked)}

    def write(one: Bundle, record: Any) -> None:
        (one.path / MANIFEST).write_text(record if isinstance(record, str) else json.dumps(record))

    yield write
    for file, text in kept.items():
        file.unlink()
        file.write_bytes(text)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = data.items() if isinstance(data, dict) else ()
    return [path, *(place for key, value in below for place in places(value, (*path, key)))]


def mutated(record: Any, choose: random.Random) -> Any:
    record = copy.deepcopy(record)
    *parents, key = choose.choice(places(record)[1:])
    table = record
    for parent in parents:
        table = table[parent]
    match choose.randrange(3):
        case 0:
            del table[key]
        case 1:
            table[key] = choose.choice(VALUES)
        case _:
            table[choose.choice(["", "files", "baked", "../../etc/passwd", "/etc/passwd", "x\0y"])] = table[
                key
            ]
    return record


@pytest.mark.parametrize("seed", range(200))
def test_mutated(bundle: Bundle, baked: Bundle, written: Any, seed: int) -> None:
    choose = random.Random(seed)
    one = choose.choice([bundle, baked])
    record = mutated(json.loads((one.path / MANIFEST).read_text()), choose)
    written(one, record)
    try:
        opened = load_bundle(one.path)
    except InvalidInputError as error:
        assert str(one.path) in str(error)
    else:
        assert opened.plan == one.plan and (opened.baked is None) == (one.baked is None)
        repr(opened)
        opened.session().run(None, {"input_ids": np.arange(3)})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("files",), [], "files is .*; it must be a table"),
        (("files", "model.onnx"), None, "files.model.onnx is null; it must be a table"),
        (("files", "model.onnx", "size"), "many", 'size is "many"; it must be a whole number'),
        (("files", "model.onnx", "size"), 5, r"model\.onnx changed since it was compiled"),
        (("files", "plan.json", "sha256"), "xyz", 'sha256 is "xyz"; it must be 64 hexadecimal digits'),
        (("files", "../outside"), {"sha256": "0" * 64, "size": 1}, "the path of a file inside the bundle"),
        (("files", "a/../../x"), {"sha256": "0" * 64, "size": 1}, "the path of a file inside the bundle"),
        (("baked",), {"seed": 1}, "baked.noise_scale is missing"),
        (("more",), 1, "unknown key more"),
    ],
)
def test_the_key_is_named(
    bundle: Bundle, written: Any, path: tuple[str, ...], value: Any, message: str
) -> None:
    record = json.loads((bundle.path / MANIFEST).read_text())
    table = record
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    written(bundle, record)
    with pytest.raises(InvalidInputError, match=message):
        load_bundle(bundle.path)


@pytest.mark.parametrize("missing", ["model.onnx", "plan.json", "model.portable.onnx"])
def test_a_file_that_every_bundle_has(bundle: Bundle, written: Any, missing: str) -> None:
    record = json.loads((bundle.path / MANIFEST).read_text())
    del record["files"][missing]
    written(bundle, record)
    with pytest.raises(InvalidInputError, match=f"files.{missing} is missing"):
        load_bundle(bundle.path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 5000, '{"files": NaN}', "\ud800"])
def test_damaged(bundle: Bundle, written: Any, text: str) -> None:
    (bundle.path / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    done = run_hetc("inspect", bundle.path)
    assert done.returncode == 3, done.stderr
    assert MANIFEST in done.stderr


def test_a_pipe_is_no_manifest(bundle: Bundle, written: Any) -> None:
    (bundle.path / MANIFEST).unlink()
    os.mkfifo(bundle.path / MANIFEST)
    with pytest.raises(InvalidInputError, match=r"manifest.json is missing or damaged"):
        load_bundle(bundle.path)
