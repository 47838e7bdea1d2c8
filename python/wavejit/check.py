"""Argument checks that the library's own (C++) matcher cannot make: plain Python values."""

from __future__ import annotations

from numbers import Real
from typing import Any


def positive(name: str, value: Any) -> int:
    """`value` as a positive int, else TypeError or ValueError naming it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name}: expected a positive number, got {value}")
    return value


def tensors(**given: Any) -> None:
    """TypeError for the first of the arguments that is no torch tensor."""
    for name, value in given.items():
        if not (hasattr(value, "dtype") and hasattr(value, "get_device")):
            raise TypeError(f"{name}: expected a torch tensor, got {type(value).__name__}")


def taken(**given: Any) -> list[Any]:
    """The arguments as torch tensors; those of another library share their memory through DLPack.

    TypeError for the first that is no tensor.
    """
    found = list(given.values())
    for value in found:
        if not hasattr(value, "get_device"):
            return [_shared(name, one) for name, one in given.items()]
    return found


def _shared(name: str, value: Any) -> Any:
    if hasattr(value, "get_device"):
        return value
    if not hasattr(value, "__dlpack__"):
        tensors(**{name: value})
    import torch

    try:
        return torch.from_dlpack(value)
    except (RuntimeError, TypeError, BufferError) as error:
        kind = type(value).__name__
        raise TypeError(f"{name}: torch cannot share this {kind}'s memory: {error}") from error


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """ValueError unless `value` is one of `allowed` and of its type (4.0 and True are no ints)."""
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")


def number(name: str, value: Any) -> float:
    """`value` as a float, else TypeError naming it."""
    if isinstance(value, bool) or not isinstance(value, int | float | Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """`value` as a finite float from 0 on, else TypeError or ValueError naming it."""
    found = number(name, value)
    if not 0 <= found < float("inf"):
        raise ValueError(f"{name}: expected a finite number from 0 on, got {value}")
    return found
