"""Damages a model at random, but always alike for one seed: a field of its protobuf, or a few bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message

__all__ = ["mutate_bytes", "mutate_field"]

NUMBERS = (-(2**31), -1, 0, 1, 2, 3, 7, 10, 16, 99, 255, 2**31 - 1)
WIDE_NUMBERS = (*NUMBERS, -(2**63), 2**40, 2**63 - 1)
TEXTS = ("", "x", "Expert", "MatMul", "NoSuchOperator", "hetc", "logits", "[/b]", "\x1b[31m", "a" * 300)


def mutate_field(model: onnx.ModelProto, seed: int) -> bytes:
    """The model with one field of one of its messages changed, removed, doubled or moved."""
    chosen = random.Random(seed)
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    message, field = chosen.choice(list(_fields(proto)))
    if field.is_repeated:
        _mutate_repeated(message, field, chosen)
    elif chosen.random() < 0.2 or field.message_type is not None:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _other(field, getattr(message, field.name), chosen))
    return proto.SerializeToString()


def mutate_bytes(data: bytes, seed: int) -> bytes:
    """The bytes with a few of them changed, removed, or put in."""
    chosen = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chosen.choice((1, 1, 2, 8))):
        place = chosen.randrange(len(changed))
        kind = chosen.randrange(4)
        if kind == 0:
            changed[place] ^= 1 << chosen.randrange(8)
        elif kind == 1:
            changed[place] = chosen.randrange(256)
        elif kind == 2:
            del changed[place : place + chosen.choice((1, 4, 50))]
        else:
            changed[place:place] = chosen.randbytes(chosen.choice((1, 4, 50)))
    return bytes(changed)


def _fields(message: Message) -> Iterator[tuple[Any, Any]]:
    """Every field that is set, of the message and of all within."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from _fields(inner)


def _mutate_repeated(message: Any, field: Any, chosen: random.Random) -> None:
    values = getattr(message, field.name)
    place = chosen.randrange(len(values))
    kind = chosen.randrange(4)
    if kind == 0:
        del values[place]
    elif kind == 1 and field.message_type is None:
        values[place] = _other(field, values[place], chosen)
    elif kind == 2 and field.message_type is not None:
        values[place].CopyFrom(chosen.choice(list(values)))
    elif kind == 3:
        del values[place:]
    else:
        values.extend([values[place]])


def _other(field: Any, value: Any, chosen: random.Random) -> Any:
    """Another value of a field's type."""
    if isinstance(value, bytes):
        return chosen.choice(
            (b"", value[:-1], value + b"\x00", value[: len(value) // 2], b"\xff\xfe", value * 2)
        )
    if isinstance(value, str):
        return chosen.choice((*TEXTS, value + "2", value[:-1]))
    if isinstance(value, float):
        return chosen.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    if field.enum_type is not None:
        return chosen.choice(field.enum_type.values).number
    narrow = field.type == field.TYPE_INT32
    return chosen.choice(NUMBERS if narrow else WIDE_NUMBERS)
