"""The indexer's queries and weights (templates/q_indexer_rope_hadamard_quant.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import flavours
from wavejit.bind import dtype_name, module_for
from wavejit.check import number, one_of, taken, tensors
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rotation import ROPE_DIMS, angles_of, clamped, rotated
from wavejit.rounding import rounded

__all__ = ["q_indexer_rope_hadamard_quant"]
DTYPES = ("bfloat16", "float16")
FORMATS = ("fp8", "fp4")
DIM, FP4_GROUP, FLOOR = 128, 32, 1e-4
_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_ready: dict[Any, Any] = {}


def spec(
    element: str, flavour: str = "fn", fp4: bool | str = False, largest: int | None = None
) -> KernelSpec:
    """One instance: the queries' dtype, and fp8 of a flavour or fp4."""
    one_of("q dtype", element, DTYPES)
    is_fp4 = fp4 in (True, "true")
    top = 6 if is_fp4 else flavours.largest(flavour.lower(), largest)
    return kernel_spec(
        "q_indexer_rope_hadamard_quant",
        ("run",),
        element=element,
        flavour=flavour.capitalize(),
        fp4="true" if is_fp4 else "false",
        largest=top,
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """bf16 queries to fp8 of the architecture's flavour, and to fp4."""
    return [spec("bfloat16", arch.fp8_flavour), spec("bfloat16", fp4=True)]


def q_indexer_rope_hadamard_quant(
    q: Any,
    weight: Any,
    weight_scale: float,
    freqs_cis: Any,
    positions: Any,
    *,
    out: Any = None,
    format: str = "fp8",
    flavour: str | None = None,
    fp8_max: int | None = None,
) -> tuple[Any, ...]:
    """The indexer's queries: last 64 dims rotated, Hadamard-128, quantised; its weights scaled.

    q: [tokens, heads, 128] bf16 or fp16, token and head strides multiples of 16 bytes. weight:
    [tokens, heads] of q's dtype, rows may lie apart. freqs_cis: from rope_table, complex64
    [positions, 32] or its fp32 [positions, 64]. positions: int32 or int64 [tokens]; one outside the
    table counts as the nearest in it. format: "fp8", of flavour "fn" or "fnuz" (default: the
    device's own; fp8_max 448, 240, or 224) or "fp4" (e2m1 with UE8M0 scales of groups of 32).
    out: the tuple to fill, as returned; new tensors without it.

    Returns for fp8 (codes [tokens, heads, 128] of the flavour's float8, weights [tokens, heads, 1]
    fp32 = weight * weight_scale * the head's scale); for fp4 (codes [tokens, heads, 64] uint8, low
    half the even dim, scales [tokens, heads] int32 of four bytes, byte g that of group g, weights =
    weight * weight_scale). Raises ValueError or TypeError naming the argument.
    """
    q, weight, freqs_cis, positions = taken(
        q=q, weight=weight, freqs_cis=freqs_cis, positions=positions
    )
    key = q.dtype, format, flavour, fp8_max, q.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        one_of("format", format, FORMATS)
        chosen = flavours.own(q) if flavour is None else flavour
        one_of("flavour", chosen, flavours.FLAVOURS)
        is_fp4 = format == "fp4"
        made = spec(dtype_name(q.dtype), "fn" if is_fp4 else chosen, is_fp4, fp8_max)
        found = _ready[(*key[:-1], archs._host)] = module_for(made, q).run, chosen
    run, chosen = found
    if out is None:
        out = _outputs(q, format, chosen)
    count = 2 if format == "fp8" else 3
    if len(out) != count:
        raise ValueError(f"out: expected {count} tensors for {format}, got {len(out)}")
    codes, scales, weights = (out[0], None, out[1]) if format == "fp8" else out
    tensors(out=codes, weights=weights, **({} if scales is None else {"scales": scales}))
    as_bytes = flavours.as_bytes("out", codes, chosen) if format == "fp8" else codes
    factor = number("weight_scale", weight_scale)
    flat = weights.squeeze(-1)
    run(q, weight, factor, angles_of(freqs_cis), positions, as_bytes, scales, flat)
    return tuple(out)


def _outputs(q: Any, format: str, flavour: str) -> tuple[Any, ...]:
    import torch

    shape = tuple(q.shape[:2])
    weights = torch.empty((*shape, 1), dtype=torch.float32, device=q.device)
    if format == "fp4":
        codes = torch.empty((*shape, DIM // 2), dtype=torch.uint8, device=q.device)
        return codes, torch.empty(shape, dtype=torch.int32, device=q.device), weights
    return torch.empty((*shape, DIM), dtype=flavours.dtype(flavour), device=q.device), weights


def q_indexer_rope_hadamard_quant_reference(
    q: Any,
    weight: Any,
    weight_scale: float,
    freqs_cis: Any,
    positions: Any,
    *,
    out: Any = None,
    format: str = "fp8",
    flavour: str | None = None,
    fp8_max: int | None = None,
) -> tuple[Any, ...]:
    """`q_indexer_rope_hadamard_quant` with torch's fp32 operations; everything on the CPU."""
    import torch

    angles, x = angles_of(freqs_cis), q.float().clone()
    for token, position in enumerate(clamped(positions, len(angles))):
        tail = rotated(x[token, :, -ROPE_DIMS:], angles[position])
        x[token, :, -ROPE_DIMS:] = rounded(tail, torch.bfloat16) if format == "fp4" else tail
    x = _transformed(x)
    weights = weight.float() * torch.tensor(weight_scale, dtype=torch.float32)
    if format == "fp4":
        codes, scales = _fp4(rounded(x, torch.bfloat16).float())
        made: tuple[Any, ...] = codes, scales, rounded(weights, torch.float32)[..., None]
    else:
        chosen = flavours.own(q) if flavour is None else flavour
        top = flavours.largest(chosen, fp8_max)
        amax = x.abs().nan_to_num(nan=0.0, posinf=float("inf")).amax(-1).clamp(min=FLOOR)
        scale = amax.clamp(max=torch.finfo(torch.float32).max) / torch.tensor(float(top))
        codes = flavours.encoded(x * (torch.tensor(1.0) / scale)[..., None], chosen, top, "max")
        made = (
            codes.view(flavours.dtype(chosen)),
            rounded(weights * scale, torch.float32)[..., None],
        )
    if out is None:
        return made
    for given, value in zip(out, made, strict=True):
        given.view(value.dtype).copy_(value)
    return tuple(out)


def _transformed(x: Any) -> Any:
    """Hadamard of the last 128 dims in Sylvester's order, stage by stage, times 128^-0.5."""
    import torch

    for step in (1, 2, 4, 8, 16, 32, 64):
        pairs = x.unflatten(-1, (-1, 2, step))
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack([a + b, a - b], dim=-2).flatten(-3)
    return x * torch.tensor(128**-0.5, dtype=torch.float32)


def _fp4(x: Any) -> tuple[Any, Any]:
    """Codes two in a byte, and the four scales' bytes as int32."""
    import torch

    groups = x.unflatten(-1, (-1, FP4_GROUP))
    amax = groups.abs().nan_to_num(nan=0.0, posinf=float("inf")).amax(-1).clamp(min=FLOOR)
    fraction, exponent = torch.frexp((amax / torch.tensor(6.0)).double())
    e = torch.where(amax.isinf(), 253, exponent - (fraction == 0.5).int() + 127)
    scaled = groups * torch.exp2(127 - e.double()).float()[..., None]
    scaled = torch.where(scaled.isnan(), torch.tensor(6.0), scaled).clamp(-6, 6).flatten(-2)
    values = torch.tensor(_FP4)
    middles = (values[1:] + values[:-1]) / 2
    codes = (scaled.abs()[..., None] > middles).sum(-1)
    codes = torch.where((scaled < 0) & (codes > 0), codes + 8, codes).to(torch.uint8)
    packed = codes[..., 0::2] | codes[..., 1::2] << 4
    return packed, e.to(torch.uint8).contiguous().view(torch.int32).squeeze(-1)


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Both flavours, the smaller maximum, fp4, fp16 queries, and many heads."""
    from functools import partial

    cases = [
        ("bfloat16", "fp8", "fn", 448),
        ("float16", "fp8", "fnuz", 224),
        ("bfloat16", "fp4", None, None),
    ]
    few = {
        "q_indexer-" + "-".join(str(part) for part in case if part): partial(_golden, 7, *case)
        for case in cases
    }
    return {**few, "q_indexer-many": partial(_golden, 460, "bfloat16", "fp8", "fn", 448)}


def _golden(
    tokens: int, element: str, format: str, flavour: str | None, fp8_max: int | None, device: Any
) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs

    kind = getattr(torch, element)
    table = rope_table(70, base=10000.0).to(device)
    q = inputs.normal(1, (tokens, 9, 192)).to(kind).to(device)[..., 64:]
    weight = inputs.normal(2, (tokens, 16)).to(kind).to(device)[:, 3:12]
    positions = inputs.integers(3, (tokens,), -20, 90).to(device)
    made = q_indexer_rope_hadamard_quant(
        q, weight, 0.011, table, positions, format=format, flavour=flavour, fp8_max=fp8_max
    )
    return digest(*(part.view(torch.uint8) if part.itemsize == 1 else part for part in made))
