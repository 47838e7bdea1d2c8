"""RMS norm whose result feeds an fp8 matrix product (templates/rmsnorm_fp8_quant.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import flavours
from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rounding import normalised, rounded

__all__ = ["rmsnorm_fp8_quant"]
DTYPES = ("bfloat16", "float16", "float")
GROUPS = (32, 64, 128, 256)
SCALES = {"fp32": "float", "ue8m0": "uint8_t"}
LAYOUTS = ("row", "col")
FLOOR = 1e-10
MOST = 16384
WIDTHS = {"flash": (1024, 4096), "pro": (1536, 7168)}  # of a model's rows
_ready: dict[Any, Any] = {}


def spec(
    element: str,
    dim: int,
    flavour: str,
    weight: str = "bfloat16",
    group: int = 128,
    scale: str = "float",
    fp8_max: int | None = None,
) -> KernelSpec:
    """One instance: dtypes of rows and weights, the rows' length, flavour, groups, their scales."""
    one_of("x dtype", element, DTYPES)
    one_of("weight dtype", weight, DTYPES)
    one_of("group_size", group, GROUPS)
    if dim <= 0 or dim % group or dim > MOST:
        raise ValueError(f"x: expected rows of n * {group} elements up to {MOST}, got {dim}")
    return kernel_spec(
        "rmsnorm_fp8_quant",
        ("run",),
        element=element,
        weight=weight,
        dim=dim,
        group=group,
        flavour=flavour.capitalize(),
        scale=scale,
        fp8_max=flavours.largest(flavour.lower(), fp8_max),
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The model's bf16 rows with both kinds of scales."""
    return [
        spec("bfloat16", dim, arch.fp8_flavour, scale=scale)
        for dim in WIDTHS[model]
        for scale in SCALES.values()
    ]


def rmsnorm_fp8_quant(
    x: Any,
    weight: Any,
    eps: float,
    *,
    group_size: int = 128,
    scale_format: str = "fp32",
    scale_layout: str = "row",
    flavour: str | None = None,
    fp8_max: int | None = None,
    out: tuple[Any, Any, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """Rows by their root mean square times weight: rounded, and from that quantised in groups.

    x: [rows, K] bf16, fp16 or fp32, rows may lie apart by a multiple of 16 bytes; K a multiple of
    group_size (32, 64, 128 or 256) up to 16384. weight: [K]. scale_format: "fp32", the scale,
    max(amax, 1e-10) / fp8_max; or "ue8m0", the byte e of 2^(e - 127), the least power of two not
    below it. scale_layout: "row", or "col" for scales whose memory is [K / group_size, rows].
    flavour: "fn" or "fnuz", by default the device's own. fp8_max: 448 for fn, 240 (default) or 224.
    out: the three tensors to fill, as returned; y_fp8 may be uint8, and scale has any strides.

    Returns (y_fp8 [rows, K] of the flavour's float8, scale [rows, K / group_size] fp32 or uint8
    with its true strides, y [rows, K] of x's dtype). Raises ValueError or TypeError naming the
    argument.
    """
    x, weight = taken(x=x, weight=weight)
    one_of("x's rank", x.dim(), (2,))
    one_of("scale_layout", scale_layout, LAYOUTS)
    key = (
        x.dtype,
        weight.dtype,
        x.shape[-1],
        group_size,
        group_size.__class__,  # 128.0 is no size
        scale_format,
        flavour,
        fp8_max,
        x.get_device(),
        archs._host,
    )
    found = _ready.get(key)
    if found is None:
        one_of("scale_format", scale_format, tuple(SCALES))
        chosen = flavours.chosen(x, flavour)
        dtypes = dtype_name(x.dtype), dtype_name(weight.dtype)
        flavours.largest(chosen, fp8_max)
        scale = SCALES[scale_format]
        made = spec(dtypes[0], x.shape[-1], chosen, dtypes[1], group_size, scale, fp8_max)
        found = _ready[(*key[:-1], archs._host)] = (
            module_for(made, x).run,
            chosen,
            flavours.dtype(chosen),
        )
    run, chosen, float8 = found
    eps = not_negative("eps", eps)
    if out is not None:
        codes, scale, y = _given(out)
        run(x, weight, y, flavours.as_bytes("y_fp8", codes, chosen), scale, eps)
        return out
    codes, scale, y = _outputs(x, group_size, scale_format, scale_layout)
    run(x, weight, y, codes, scale, eps)
    return codes.view(float8), scale, y


def _given(out: Any) -> list[Any]:
    """The tensors of `out`; TypeError unless they are three."""
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        raise TypeError(f"out: expected (y_fp8, scale, y), got {type(out).__name__}")
    return taken(y_fp8=out[0], scale=out[1], y=out[2])


def _outputs(x: Any, group_size: int, scale_format: str, scale_layout: str) -> tuple[Any, ...]:
    import torch

    codes = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    kind = torch.float32 if scale_format == "fp32" else torch.uint8
    shape = x.shape[0], x.shape[1] // group_size
    if scale_layout == "row":
        scale = torch.empty(shape, dtype=kind, device=x.device)
    else:
        scale = torch.empty(shape[::-1], dtype=kind, device=x.device).t()
    return codes, scale, torch.empty(x.shape, dtype=x.dtype, device=x.device)


def rmsnorm_fp8_quant_reference(
    x: Any,
    weight: Any,
    eps: float,
    *,
    group_size: int = 128,
    scale_format: str = "fp32",
    scale_layout: str = "row",
    flavour: str | None = None,
    fp8_max: int | None = None,
    out: tuple[Any, Any, Any] | None = None,
) -> tuple[Any, Any, Any]:
    """`rmsnorm_fp8_quant` with torch's operations; everything on the CPU."""
    import torch

    chosen = flavours.own(x) if flavour is None else flavour
    top = flavours.largest(chosen, fp8_max)
    y = rounded(normalised(x, eps) * weight.float(), x.dtype)
    groups = y.float().unflatten(-1, (-1, group_size))
    amax = groups.abs().nan_to_num(nan=0.0, posinf=float("inf")).amax(-1).clamp(min=FLOOR)
    if scale_format == "fp32":
        scale = amax.clamp(max=torch.finfo(torch.float32).max) / torch.tensor(float(top))
        factor = torch.tensor(1.0) / scale
    else:
        fraction, exponent = torch.frexp((amax / torch.tensor(float(top))).double())
        e = exponent - (fraction == 0.5).int() + 127
        e = torch.where(amax.isinf(), 253, e)
        scale, factor = e.to(torch.uint8), torch.exp2(127 - e.double()).float()
    codes = flavours.encoded((groups * factor[..., None]).flatten(-2), chosen, top, "max")
    if scale_layout == "col":
        scale = scale.t().contiguous().t()
    if out is None:
        return codes.view(flavours.dtype(chosen)), scale, y
    flavours.as_bytes("y_fp8", out[0], chosen).copy_(codes)
    out[1].copy_(scale)
    out[2].copy_(y)
    return out


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Widths of the models, both scale formats and flavours, both layouts, other dtypes."""
    from functools import partial

    cases = [
        ("bfloat16", 1536, 128, "ue8m0", "col", "fn", 448),
        ("bfloat16", 4096, 128, "fp32", "col", "fnuz", 240),
        ("float16", 384, 32, "ue8m0", "row", "fnuz", 240),
        ("float32", 256, 256, "fp32", "row", "fn", 448),
    ]
    return {
        "rmsnorm_fp8_quant-" + "-".join(map(str, case)): partial(_golden, *case) for case in cases
    }


def _golden(
    element: str,
    dim: int,
    group: int,
    scale_format: str,
    scale_layout: str,
    flavour: str,
    fp8_max: int,
    device: Any,
) -> str:
    import torch

    from wavejit.testing import digest, inputs

    x = inputs.normal(1, (5, dim + 64)).to(getattr(torch, element)).to(device)[:, 64:]
    weight = inputs.normal(2, (dim,)).to(torch.bfloat16).to(device)
    codes, scale, y = rmsnorm_fp8_quant(
        x,
        weight,
        1e-6,
        group_size=group,
        scale_format=scale_format,
        scale_layout=scale_layout,
        flavour=flavour,
        fp8_max=fp8_max,
    )
    return digest(codes.view(torch.uint8), scale, y)
