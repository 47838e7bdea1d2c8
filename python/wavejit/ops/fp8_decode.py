"""e4m3 codes of either flavour to values (templates/fp8_decode.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import flavours
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FLAVOURS
from wavejit.rounding import rounded

__all__ = ["fp8_decode"]
DTYPES = ("float", "bfloat16", "float16")
_ready: dict[Any, Callable[..., Any]] = {}


def spec(output: str, flavour: str) -> KernelSpec:
    """One instance: the output's dtype and the flavour."""
    one_of("dtype", output, DTYPES)
    flavour = flavour.lower()
    one_of("flavour", flavour, FLAVOURS)
    return kernel_spec("fp8_decode", ("run",), output=output, flavour=flavour.capitalize())


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The architecture's own flavour to fp32 and bf16."""
    return [spec(output, arch.fp8_flavour) for output in DTYPES[:2]]


def fp8_decode(
    bytes_: Any, flavour: str | None = None, *, dtype: Any = None, out: Any = None
) -> Any:
    """The value of every e4m3 code, exact; a NaN code gives the quiet NaN.

    bytes_: uint8, or a float8 tensor of the flavour, of any shape; one that is not contiguous is
    copied first. flavour: "fn" or "fnuz", by default that of the device. dtype: float32 (default),
    bfloat16 or float16.

    Returns values of bytes_' shape, or `out` (contiguous, its dtype counts). Raises ValueError or
    TypeError naming the argument.
    """
    import torch

    (codes,) = taken(bytes_=bytes_)
    if out is not None:
        values = flavours.as_large(codes, out)
    elif dtype is None or isinstance(dtype, torch.dtype):
        values = out = torch.empty(codes.shape, dtype=dtype or torch.float32, device=codes.device)
    else:
        raise TypeError(f"dtype: expected a torch.dtype, got {dtype!r}")
    key = flavour, values.dtype, codes.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, codes, flavour, values)
    run, chosen = found
    run(flavours.as_bytes("bytes_", codes, chosen).reshape(-1), values.view(-1))
    return out


def _prepare(key: Any, codes: Any, flavour: str | None, out: Any) -> Any:
    chosen = flavours.chosen(codes, flavour)
    module = module_for(spec(dtype_name(out.dtype), chosen), codes)
    _ready[(*key[:-1], archs._host)] = found = (module.run, chosen)
    return found


def fp8_decode_reference(
    bytes_: Any, flavour: str | None = None, *, dtype: Any = None, out: Any = None
) -> Any:
    """`fp8_decode` by torch's own cast; everything on the CPU."""
    import torch

    chosen = flavours.own(bytes_) if flavour is None else flavour
    values = flavours.as_bytes("bytes_", bytes_, chosen).view(flavours.dtype(chosen)).float()
    target = out.dtype if out is not None else dtype or torch.float32
    values = rounded(values, target)
    return values if out is None else out.copy_(values)


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Every pair of neighbouring codes."""
    from functools import partial

    return {
        f"fp8_decode-{dtype}-{flavour}": partial(_golden, dtype, flavour)
        for dtype, flavour in (("float32", "fn"), ("bfloat16", "fnuz"), ("float16", "fn"))
    }


def _golden(dtype: str, flavour: str, device: Any) -> str:
    import torch

    from wavejit.testing import digest

    low, high = torch.arange(1 << 16).remainder(256), torch.arange(1 << 16) // 256
    codes = torch.stack([low, high], dim=1).to(torch.uint8).to(device)
    return digest(fp8_decode(codes, flavour, dtype=getattr(torch, dtype)))
