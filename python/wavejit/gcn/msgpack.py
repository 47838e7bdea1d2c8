"""Reads MessagePack, the format of a code object's notes."""

from __future__ import annotations

import struct
from typing import Any

_SIZED = {0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4)}
_SIZED |= {0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4)}
_SIZED |= {0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}
_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data: bytes) -> Any:
    """The value that `data` begins with; ValueError for anything that is not MessagePack."""
    try:
        return _value(data, 0)[0]
    except (IndexError, struct.error) as error:
        raise ValueError(f"MessagePack ends early: {error}") from error


def _value(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 0x100, at
    if tag < 0x90:
        return _content("map", tag & 15, data, at)
    if tag < 0xA0:
        return _content("array", tag & 15, data, at)
    if tag < 0xC0:
        return _content("str", tag & 31, data, at)
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in _NUMBERS:
        form = _NUMBERS[tag]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if tag in _SIZED:
        kind, width = _SIZED[tag]
        return _content(kind, int.from_bytes(data[at : at + width], "big"), data, at + width)
    raise ValueError(f"MessagePack tag {tag:#x} is not supported")


def _content(kind: str, count: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind in ("str", "bin"):
        raw = data[at : at + count]
        if len(raw) != count:
            raise ValueError("MessagePack ends inside a string")
        return raw.decode() if kind == "str" else raw, at + count
    items = []
    for _ in range(count * (2 if kind == "map" else 1)):
        item, at = _value(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if kind == "map" else items), at
