"""silu(gate) * up of the experts, quantised in groups (templates/silu_mul_quant.cuh.j2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from wavejit import flavours
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["silu_mul_quant"]
DTYPES = ("bfloat16", "float16", "float")
GROUPS = (32, 128)
FORMATS = ("fp32", "ue8m0")
LAYOUTS = ("row", "col")
AMAX_FLOOR = 1e-10
ON_CPU = 2
_ready: dict[Any, Callable[..., Any]] = {}


def spec(
    input: str,
    flavour: str,
    group_size: int = 128,
    scale_format: str = "fp32",
    scale_layout: str = "row",
    swizzle: bool = False,
) -> KernelSpec:
    """One instance: input's dtype, e4m3's flavour, and how scales and input lie."""
    one_of("x dtype", input, DTYPES)
    one_of("group_size", group_size, GROUPS)
    one_of("scale_format", scale_format, FORMATS)
    one_of("scale_layout", scale_layout, LAYOUTS)
    one_of("swizzle", swizzle, (False, True))
    return kernel_spec(
        "silu_mul_quant",
        ("run",),
        input=input,
        flavour=flavour.capitalize(),
        group_size=group_size,
        float_scale=str(scale_format == "fp32").lower(),
        by_column=str(scale_layout == "col").lower(),
        swizzled=str(swizzle).lower(),
        amax_floor="1e-10",
        fp8_max=flavours.largest(flavour, None),
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """bf16 in groups of 128: fp32 in rows, and packed UE8M0 in columns."""
    return [
        spec("bfloat16", arch.fp8_flavour, 128, scale, layout)
        for scale, layout in (("fp32", "row"), ("ue8m0", "col"))
    ]


def silu_mul_quant(
    x: Any,
    masked_m: Any = None,
    *,
    group_size: int = 128,
    scale_format: str = "fp32",
    scale_layout: str = "row",
    limit: float | None = None,
    swizzle: bool = False,
    flavour: str | None = None,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """silu(gate) * up as e4m3 codes, a scale for every group of `group_size` (32 or 128) columns.

    x: [E, T, 2H] bf16, fp16 or fp32, contiguous, gate in the first H columns and up in the others;
    swizzle: in chunks of 16, 8 of gate and 8 of up. masked_m: [E] int32 or int64, the valid rows of
    each expert (clamped to [0, T]); other rows are neither read nor written. Without masked_m x may
    be [N, 2H] too, and all rows are valid. limit, rounded to x's dtype: gate is at most
    that and up lies within it. flavour: "fn" or "fnuz", by default that of the device.

    scale_format "fp32": amax / max of the codes; "ue8m0": the power of two at or above it. amax is
    at least 1e-10. scale_layout "row": fp32 [E, T, H / group_size]; "col": fp32 [E, H / group_size,
    T], and with ue8m0 int32 [E, H / (4 group_size), T], the exponents of four groups a word.

    Returns (codes in the flavour's float8 dtype [E, T, H], scale), or `out`; codes may be uint8
    there. Raises ValueError or TypeError naming the argument.
    """
    (x,) = taken(x=x)
    key = x.dtype, flavour, group_size, scale_format, scale_layout, swizzle, x.get_device()
    found = _ready.get((*key, archs._host))
    if found is None:
        chosen = flavours.chosen(x, flavour)
        one = spec(dtype_name(x.dtype), chosen, group_size, scale_format, scale_layout, swizzle)
        found = module_for(one, x).run, chosen, _processors(x)
        _ready[(*key, archs._host)] = found
    run, chosen, processors = found
    if x.dim() not in (2, 3) or (x.dim() == 2 and masked_m is not None):
        raise ValueError(
            f"x: expected [E, T, 2H], or [N, 2H] without masked_m, got {list(x.shape)}"
        )
    if out is None:
        out = _outputs(x, group_size, scale_format, scale_layout, chosen)
    y, scale = _pair(out)
    codes = flavours.as_bytes("out[0]", y, chosen)
    if x.dim() == 2:
        x, codes, scale = x[None], codes[None], scale[None]
    run(x, masked_m, codes, scale, _bits(limit, x), processors)
    return out


def _processors(x: Any) -> int:
    """The multiprocessors of the tensor's device, which share the rows; a few for the CPU."""
    if x.is_cpu:
        return ON_CPU
    import torch

    return int(torch.cuda.get_device_properties(x.device).multi_processor_count)


def _pair(out: Any) -> Any:
    """Codes and scales of `out` as tensors."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"out: expected the pair (codes, scale), got {type(out).__name__}")
    return taken(**{"out[0]": out[0], "out[1]": out[1]})


def _outputs(x: Any, group_size: int, scale_format: str, scale_layout: str, flavour: str) -> Any:
    import torch

    *outer, rows, columns = x.shape
    width = columns // 2
    packed = scale_format == "ue8m0" and scale_layout == "col"
    groups = width // (4 * group_size if packed else group_size)
    shape = (rows, groups) if scale_layout == "row" else (groups, rows)
    kind = torch.int32 if packed else torch.float32
    codes = torch.empty((*outer, rows, width), dtype=flavours.dtype(flavour), device=x.device)
    return codes, torch.empty((*outer, *shape), dtype=kind, device=x.device)


def _bits(limit: Any, x: Any) -> int:
    """The limit in x's dtype, as the bits of an fp32; infinite for None."""
    if limit is None:
        return 0x7F800000
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise ValueError(f"limit: expected None or a positive number, got {limit!r}")
    import torch

    value = torch.tensor(float(limit), dtype=torch.float32).to(x.dtype).float().item()
    if value == 0:
        raise ValueError(f"limit: expected a number above 0 in x's dtype, got {limit!r}")
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def silu_mul_quant_reference(
    x: Any,
    masked_m: Any = None,
    *,
    group_size: int = 128,
    scale_format: str = "fp32",
    scale_layout: str = "row",
    limit: float | None = None,
    swizzle: bool = False,
    flavour: str | None = None,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """`silu_mul_quant` with silu in float64; all on the CPU. Other rows stay as they are."""
    import torch

    chosen = flavours.own(x) if flavour is None else flavour
    if out is None:
        out = _outputs(x, group_size, scale_format, scale_layout, chosen)
    y, scale = flavours.as_bytes("out[0]", out[0], chosen), out[1]
    if x.dim() == 2:
        x, y, scale = x[None], y[None], scale[None]
    experts, rows, width = x.shape[0], x.shape[1], x.shape[2] // 2
    counts = [rows] * experts if masked_m is None else masked_m.clamp(0, rows).tolist()
    for e, count in enumerate(counts):
        v = _activated(x[e, :count], width, limit, swizzle).float()
        groups = v.view(count, width // group_size, group_size)
        top = groups.abs().nan_to_num(0.0, posinf=torch.inf).amax(dim=-1).clamp(min=AMAX_FLOOR)
        largest = flavours.largest(chosen, None)
        s = top.clamp(max=torch.finfo(torch.float32).max) / largest
        if scale_format == "ue8m0":
            mantissa, exponent = torch.frexp(s)
            exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
            s = torch.ldexp(torch.ones_like(s), exponent)
        codes = flavours.encoded(groups * (1 / s)[..., None], chosen, largest, "max")
        y[e, :count] = codes.view(count, width)
        if scale_layout == "row":
            scale[e, :count] = s
        elif scale_format == "fp32":
            scale[e, :, :count] = s.T
        else:
            packed = (exponent + 127).to(torch.uint8).contiguous().view(torch.int32)
            scale[e, :, :count] = packed.T
    return out


def _activated(x: Any, width: int, limit: float | None, swizzle: bool) -> Any:
    import torch

    if swizzle:
        gate, up = x.view(len(x), width // 8, 2, 8).unbind(2)
        gate, up = gate.reshape(len(x), width), up.reshape(len(x), width)
    else:
        gate, up = x[:, :width], x[:, width:]
    if limit is not None:
        bound = torch.tensor(float(limit)).to(x.dtype).item()
        gate, up = gate.clamp(max=bound), up.clamp(-bound, bound)
    gate, up = gate.double(), up.double()
    return (gate / (1 + torch.exp(-gate))) * up


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Both formats in both layouts, masked; contiguous and swizzled rows; both flavours."""
    from functools import partial

    cases = [
        ("bfloat16", "fn", 128, "fp32", "row", False),
        ("bfloat16", "fnuz", 128, "ue8m0", "col", False),
        ("float16", "fn", 32, "ue8m0", "row", True),
        ("bfloat16", "fn", 32, "fp32", "col", True),
    ]
    return {"silu_mul_quant-" + "-".join(map(str, c)): partial(_golden, *c) for c in cases}


def _golden(
    dtype: str, flavour: str, group: int, form: str, layout: str, swizzle: bool, device: Any
) -> str:
    import torch

    from wavejit.testing import digest, inputs

    x = inputs.normal(1, (3, 5, 1024), 4.0)
    x[2, 0] = inputs.any_float(2, (1024,))
    x = x.to(getattr(torch, dtype)).to(device)
    counts = torch.tensor([5, 0, 3], device=device)
    options: dict[str, Any] = {"group_size": group, "scale_format": form, "scale_layout": layout}
    options |= {"swizzle": swizzle, "flavour": flavour, "limit": 10.0 if swizzle else None}
    out = _outputs(x, group, form, layout, flavour)
    codes = out[0].view(torch.uint8).fill_(7)
    silu_mul_quant(x, counts, out=(codes, out[1].fill_(1)), **options)
    return digest(codes, out[1])
