"""Argument checks that the library's own (C++) matcher cannot make: plain Python values."""

from __future__ import annotations

from typing import Any


def positive(name: str, value: Any) -> int:
    """`value` as a positive int, else TypeError or ValueError naming it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name}: expected a positive number, got {value}")
    return value


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
