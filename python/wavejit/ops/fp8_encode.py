"""Values to e4m3 codes in either flavour (templates/fp8_encode.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import flavours
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["fp8_encode"]
DTYPES = ("float", "bfloat16", "float16")
_ready: dict[Any, Callable[..., Any]] = {}


def spec(input: str, flavour: str, fp8_max: int | None = None, nan: str = "max") -> KernelSpec:
    """One instance: the input's dtype, the flavour, its largest magnitude, what a NaN becomes."""
    one_of("x dtype", input, DTYPES)
    flavour, nan = flavour.lower(), nan.lower()
    one_of("nan", nan, flavours.NANS)
    return kernel_spec(
        "fp8_encode",
        ("run",),
        input=input,
        flavour=flavour.capitalize(),
        fp8_max=flavours.largest(flavour, fp8_max),
        nan=nan.capitalize(),
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The architecture's own flavour from fp32 and bf16."""
    return [spec(input, arch.fp8_flavour) for input in DTYPES[:2]]


def fp8_encode(
    x: Any,
    flavour: str | None = None,
    *,
    fp8_max: int | None = None,
    nan: str = "max",
    out: Any = None,
) -> Any:
    """The nearest e4m3 code of every element, ties to even, saturating.

    x: fp32, bf16 or fp16 of any shape; one that is not contiguous is copied first. flavour: "fn" or
    "fnuz", by default that of the device. fp8_max: the largest magnitude, 448 for fn, 240 (default)
    or 224 for fnuz. nan: "max" (a NaN becomes +fp8_max) or "code" (the flavour's NaN).

    Returns uint8 codes of x's shape, or `out`: contiguous uint8 or the flavour's float8.
    Raises ValueError or TypeError naming the argument.
    """
    (x,) = taken(x=x)
    key = flavour, fp8_max, nan, x.dtype, x.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, x, flavour, fp8_max, nan)
    run, chosen = found
    if out is None:
        import torch

        codes = out = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    else:
        codes = flavours.as_bytes("out", flavours.as_large(x, out), chosen)
    run(x.reshape(-1), codes.view(-1))
    return out


def _prepare(key: Any, x: Any, flavour: str | None, fp8_max: int | None, nan: str) -> Any:
    chosen = flavours.chosen(x, flavour)
    module = module_for(spec(dtype_name(x.dtype), chosen, fp8_max, nan), x)
    _ready[(*key[:-1], archs._host)] = found = (module.run, chosen)
    return found


def fp8_encode_reference(
    x: Any,
    flavour: str | None = None,
    *,
    fp8_max: int | None = None,
    nan: str = "max",
    out: Any = None,
) -> Any:
    """`fp8_encode` by torch's own cast of saturated values; everything on the CPU."""
    chosen = flavours.own(x) if flavour is None else flavour
    codes = flavours.encoded(x.float(), chosen, flavours.largest(chosen, fp8_max), nan)
    return codes if out is None else flavours.as_bytes("out", out, chosen).copy_(codes)


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Both flavours, every maximum, both meanings of NaN, every dtype: each at least once."""
    from functools import partial

    cases = [
        ("float32", "fn", 448, "max"),
        ("bfloat16", "fn", 448, "code"),
        ("bfloat16", "fnuz", 240, "max"),
        ("float16", "fnuz", 224, "max"),
    ]
    return {
        f"fp8_encode-{dtype}-{flavour}-{top}-{nan}": partial(_golden, dtype, flavour, top, nan)
        for dtype, flavour, top, nan in cases
    }


def _golden(dtype: str, flavour: str, fp8_max: int, nan: str, device: Any) -> str:
    import torch

    from wavejit.testing import digest, inputs

    x = torch.cat([inputs.any_float(1, (5000,)), inputs.normal(2, (15001,), 60.0)])
    x = x.to(getattr(torch, dtype)).to(device)
    return digest(fp8_encode(x, flavour, fp8_max=fp8_max, nan=nan))
