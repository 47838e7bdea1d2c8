"""Which e4m3 a call writes or reads, and the definition of the conversion in plain torch."""

from __future__ import annotations

from typing import Any

from wavejit.bind import arch_of
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.layouts import FLAVOURS, MAXIMA

NANS = ("max", "code")
_DTYPES = {"fn": "float8_e4m3fn", "fnuz": "float8_e4m3fnuz"}
_NAN_CODES = {"fn": 0x7F, "fnuz": 0x80}


def own(tensor: Any) -> str:
    """The flavour of the tensor's device: "fnuz" on gfx942, else "fn"."""
    return archs.load(arch_of(tensor)).fp8_flavour


def chosen(tensor: Any, flavour: str | None) -> str:
    """`flavour`, by default the device's own; ValueError for what is none."""
    if flavour is None:
        return own(tensor)
    one_of("flavour", flavour, FLAVOURS)
    return flavour


def largest(flavour: str, fp8_max: int | None) -> int:
    """`fp8_max`, by default the flavour's largest magnitude; ValueError for another flavour's."""
    one_of("flavour", flavour, FLAVOURS)
    if fp8_max is None:
        return MAXIMA[flavour][0]
    one_of(f"fp8_max of flavour {flavour}", fp8_max, MAXIMA[flavour])
    return fp8_max


def dtype(flavour: str) -> Any:
    """torch's dtype of a flavour."""
    import torch

    return getattr(torch, _DTYPES[flavour])


def as_bytes(name: str, tensor: Any, flavour: str | None) -> Any:
    """A float8 tensor's bytes; others as they are. ValueError if its dtype is not of `flavour`."""
    given = str(tensor.dtype).removeprefix("torch.")
    if not given.startswith("float8"):
        return tensor
    if flavour is None or _DTYPES[flavour] != given:
        raise ValueError(f"{name}: expected uint8 or {_DTYPES.get(flavour or '')}, got {given}")
    import torch

    return tensor.view(torch.uint8)


def as_large(given: Any, out: Any) -> Any:
    """`out` as a tensor; ValueError unless it has the shape of `given`, without gaps."""
    (found,) = taken(out=out)
    if found.shape != given.shape or not found.is_contiguous():
        raise ValueError(
            f"out: expected contiguous {list(given.shape)}, got {list(found.shape)}, "
            f"strides {list(found.stride())}"
        )
    return found


def encoded(x: Any, flavour: str, fp8_max: int, nan: str) -> Any:
    """The definition: saturate, cast, and put in what a NaN becomes. fp32 -> uint8, on the CPU."""
    import torch

    codes = x.nan_to_num(nan=fp8_max, posinf=fp8_max, neginf=-fp8_max).clamp(-fp8_max, fp8_max)
    codes = codes.to(dtype(flavour)).view(torch.uint8)
    if nan == "code":
        codes[x.isnan()] = _NAN_CODES[flavour]
    return codes
