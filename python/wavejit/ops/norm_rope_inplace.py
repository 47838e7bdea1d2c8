"""Keys normalised with weights and rotated in place (templates/norm_rope_inplace.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rotation import ROPE_DIMS, angles_of, rotated
from wavejit.rounding import normalised, rounded

__all__ = ["norm_rope_inplace"]
DTYPES = ("bfloat16", "float16", "float")
DIMS = (64, 128, 192, 256, 512)
_ready: dict[Any, Callable[..., Any]] = {}


def spec(element: str, weight: str = "bfloat16", dim: int = 512) -> KernelSpec:
    """One instance: the rows' and the weights' dtype, and the rows' length."""
    one_of("kv dtype", element, DTYPES)
    one_of("weight dtype", weight, DTYPES)
    one_of("kv's row length", dim, DIMS)
    return kernel_spec(
        "norm_rope_inplace",
        ("run",),
        element=element,
        weight=weight,
        dim=dim,
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The attention's bf16 latent."""
    return [spec("bfloat16")]


def norm_rope_inplace(kv: Any, weight: Any, freqs_cis: Any, positions: Any, *, eps: float) -> Any:
    """Each row by its root mean square, times weight, rounded; its last 64 dims rotated, rounded.

    kv: [tokens, D] bf16, fp16 or fp32, D one of 64, 128, 192, 256, 512, rows may lie apart by a
    multiple of 16 bytes. weight: [D] of any of these dtypes. freqs_cis: from rope_table, complex64
    [positions, 32] or its fp32 [positions, 64]. positions: int32 or int64 [tokens], those outside
    the table leave their row as it is. eps: added to the mean of the squares.

    Returns kv. Raises ValueError or TypeError naming the argument.
    """
    rows, weight, freqs_cis, positions = taken(
        kv=kv, weight=weight, freqs_cis=freqs_cis, positions=positions
    )
    key = rows.dtype, weight.dtype, rows.shape[-1:], rows.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        one_of("kv's rank", rows.dim(), (2,))
        chosen = spec(dtype_name(rows.dtype), dtype_name(weight.dtype), rows.shape[-1])
        run = _ready[(*key[:-1], archs._host)] = module_for(chosen, rows).run
    run(rows, weight, angles_of(freqs_cis), positions, not_negative("eps", eps))
    return kv


def norm_rope_inplace_reference(
    kv: Any, weight: Any, freqs_cis: Any, positions: Any, *, eps: float
) -> Any:
    """`norm_rope_inplace` token by token with torch's operations; everything on the CPU."""
    angles = angles_of(freqs_cis)
    for token, position in enumerate(positions.tolist()):
        if not 0 <= position < len(angles):
            continue
        y = rounded(normalised(kv[token], eps) * weight.float(), kv.dtype)
        kv[token] = y
        turned = rotated(y[-ROPE_DIMS:].float(), angles[position])
        kv[token, -ROPE_DIMS:] = rounded(turned, kv.dtype)
    return kv


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """The model's rows with weights of two dtypes, and the other dtypes in other lengths."""
    from functools import partial

    cases = [
        ("bfloat16", "bfloat16", 512),
        ("bfloat16", "float32", 512),
        ("float16", "float16", 192),
        ("float32", "bfloat16", 64),
    ]
    return {
        f"norm_rope_inplace-{element}-{weight}-d{dim}": partial(_golden, element, weight, dim)
        for element, weight, dim in cases
    }


def _golden(element: str, weight: str, dim: int, device: Any) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs

    table = rope_table(70, base=10000.0).to(device)
    kv = inputs.normal(1, (41, dim + 64), 3.0).to(getattr(torch, element)).to(device)
    weights = inputs.normal(2, (dim,)).to(getattr(torch, weight)).to(device)
    positions = inputs.integers(3, (41,), -5, 80).int().to(device)
    norm_rope_inplace(kv[:, 64:], weights, table, positions, eps=1e-6)
    return digest(kv)
