"""Damages files: byte by byte, and field by field where the format has fields."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["Mutate", "mutate_bytes", "mutate_json", "mutate_safetensors", "mutate_toml"]

Mutate = Callable[[bytes, random.Random], bytes]
"""A file's content, and what draws, to another content."""

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    -(2**63),
    10**40,
    0.5,
    8.5,
    -0.0,
    1e-320,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "0",
    "1/0",
    "1e999999999",
    "../../etc/passwd",
    "/etc/passwd",
    "\x1b[2J\x1b]0;x\x07",
    "[bold]x[/bold]",
    "é\u202e\ud7ff",
    "x" * 5000,
    [],
    [[]],
    [0] * 300,
    {},
    {"x": {"x": {}}},
)


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Flips, cuts, repeats or fills a few bytes."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at = draw.randrange(len(data) + 1)
        length = draw.choice((1, 1, 2, 4, 8, 64))
        match draw.randrange(6):
            case 0:
                data[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * draw.choice((1, 3))
            case 4:
                data[at : at + length] = bytes(length)
            case 5:
                data[at : at + length] = b"\xff" * length
    return bytes(data)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places = [path] if path else []
    if isinstance(value, (dict, list)):
        for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
            places += _places(inner, (*path, key))
    return places


def mutate_fields(record: Any, draw: random.Random) -> Any:
    """Replaces, removes, adds or swaps fields of nested tables and lists."""
    record = copy.deepcopy(record)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = _places(record)
        if not places:
            return draw.choice(HOSTILE)
        *above, key = draw.choice(places)
        owner = record
        for step in above:
            owner = owner[step]
        match draw.randrange(6):
            case 0 | 1 | 2:
                owner[key] = copy.deepcopy(draw.choice(HOSTILE))
            case 3:
                del owner[key]
            case 4 if isinstance(owner, dict):
                owner[draw.choice(("x", "", "name", "seed"))] = draw.choice(HOSTILE)
            case 4 | 5:
                other = record
                for step in draw.choice(places):
                    other = other[step]
                owner[key] = copy.deepcopy(other)
    return record


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """Of JSON: mostly fields, sometimes bytes."""
    if draw.random() < 0.2:
        return mutate_bytes(content, draw)
    return json.dumps(mutate_fields(json.loads(content), draw)).encode()


def mutate_toml(content: bytes, draw: random.Random) -> bytes:
    """Of TOML: mostly values, sometimes bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(content, draw)
    lines = content.decode().splitlines()
    at = draw.randrange(len(lines))
    key, equals, _ = lines[at].partition(" = ")
    if equals and draw.random() < 0.8:
        value = draw.choice(HOSTILE)
        written = json.dumps(value, ensure_ascii=False) if value is not None else "1979-05-27"
        lines[at] = f"{key} = {written.replace('NaN', 'nan').replace('Infinity', 'inf')}"
    elif draw.random() < 0.5:
        del lines[at]
    else:
        lines.insert(at, draw.choice(("[x]", "x = 1", "[tile]", "noise = 1", lines[at])))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutate_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Of safetensors: the record in the metadata, the header, or bytes."""
    if draw.random() < 0.3:
        return mutate_bytes(content, draw)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    if metadata and draw.random() < 0.7:
        key = draw.choice(sorted(metadata))
        mutate = mutate_json if metadata[key].startswith("{") else mutate_bytes
        metadata[key] = mutate(metadata[key].encode(), draw).decode("utf-8", "replace")
    else:
        header = mutate_fields(header, draw)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]
