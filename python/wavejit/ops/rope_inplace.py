"""Rotation of queries and keys in place (templates/rope_inplace.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rotation import angles_of, rotated
from wavejit.rounding import rounded

__all__ = ["rope_inplace"]
DTYPES = ("bfloat16", "float", "float16")
DIMS = tuple(range(2, 513, 2))
_ready: dict[Any, Callable[..., Any]] = {}


def spec(element: str, dim: int = 64) -> KernelSpec:
    """One instance: the heads' dtype and how many dims of each are rotated, all it has."""
    one_of("q dtype", element, DTYPES)
    if dim not in DIMS:
        raise ValueError(f"q: expected heads of an even number of dims up to 512, got {dim}")
    return kernel_spec("rope_inplace", ("run",), element=element, dim=dim)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The 64 rotated dims of bf16 heads."""
    return [spec("bfloat16")]


def rope_inplace(
    q: Any, k: Any, freqs_cis: Any, positions: Any, *, inverse: bool = False
) -> tuple[Any, Any]:
    """Rotate adjacent pairs of every head by its token's angles, in place.

    q: [tokens, heads, dim] bf16, fp32 or fp16, such as `o[..., 448:512]`: any strides but the last,
    heads that do not overlap; k: the same with its own number of heads, or None; freqs_cis: from
    rope_table, complex64 [positions, dim / 2] or its fp32 [positions, dim]; positions: int32 or
    int64 [tokens], those outside the table leave their token as it is. inverse: turn back.

    Returns (q, k). Raises ValueError or TypeError naming the argument.
    """
    heads, freqs_cis, positions = taken(q=q, freqs_cis=freqs_cis, positions=positions)
    keys = None if k is None else taken(k=k)[0]
    key = heads.dtype, heads.shape[2:], heads.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        one_of("q's rank", heads.dim(), (3,))
        module = module_for(spec(dtype_name(heads.dtype), heads.shape[-1]), heads)
        run = _ready[(*key[:-1], archs._host)] = module.run
    run(heads, keys, angles_of(freqs_cis), positions, bool(inverse))
    return q, k


def rope_inplace_reference(
    q: Any, k: Any, freqs_cis: Any, positions: Any, *, inverse: bool = False
) -> tuple[Any, Any]:
    """`rope_inplace` token by token with torch's fp32 operations; everything on the CPU."""
    angles = angles_of(freqs_cis)
    for heads in (q, k):
        for token, position in enumerate(positions.tolist()):
            if heads is not None and 0 <= position < angles.shape[0]:
                turned = rotated(heads[token].float(), angles[position], inverse)
                heads[token] = rounded(turned, heads.dtype)
    return q, k


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Two dtypes, both directions, and a head that is no power of two."""
    from functools import partial

    found = {
        f"rope_inplace-{dtype}-{'inverse' if inverse else 'forward'}": partial(
            _golden, dtype, 64, inverse
        )
        for dtype, inverse in (("bfloat16", False), ("float32", True))
    }
    return {**found, "rope_inplace-bfloat16-d96": partial(_golden, "bfloat16", 96, False)}


def _golden(dtype: str, dim: int, inverse: bool, device: Any) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs

    kind = getattr(torch, dtype)
    table = rope_table(1000, base=160000.0, dim=dim)
    q = inputs.normal(1, (300, 9, dim + 32)).to(kind).to(device)
    k = inputs.any_float(2, (300, 1, dim)).to(kind).to(device)
    positions = inputs.integers(3, (300,), -20, 1020).to(device)
    rope_inplace(q[..., 32:], k, table.to(device), positions, inverse=inverse)
    return digest(q, k)
