"""Queries normalised head by head and rotated (templates/q_norm_rope.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, tensors
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rotation import ROPE_DIMS, angles_of, clamped, rotated
from wavejit.rounding import normalised, rounded

__all__ = ["q_norm_rope"]
DTYPES = ("bfloat16", "float16", "float")
DIMS = (128, 192, 256, 512)
_ready: dict[Any, Callable[..., Any]] = {}


def spec(element: str, dim: int = 512, norm: bool = True) -> KernelSpec:
    """One instance: the queries' dtype and head dim; norm: False where they are only rotated."""
    one_of("q dtype", element, DTYPES)
    one_of("q's head dim", dim, DIMS)
    return kernel_spec(
        "q_norm_rope",
        ("run",),
        element=element,
        dim=dim,
        norm="true" if norm in (True, "true") else "false",
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The attention's bf16 queries."""
    return [spec("bfloat16")]


def q_norm_rope(
    q: Any, freqs_cis: Any, positions: Any, *, eps: float | None, out: Any = None
) -> Any:
    """Each head by its root mean square, rounded; then its last 64 dims rotated, rounded again.

    q: [tokens, heads, D] bf16, fp16 or fp32, D one of 128, 192, 256, 512; any token and head
    strides that are multiples of 16 bytes. freqs_cis: from rope_table, complex64 [positions, 32]
    or its fp32 [positions, 64]. positions: int32 or int64 [tokens]; one outside the table counts as
    the nearest in it. eps: added to the mean of the squares; None: rotate only. out: q itself (in
    place) or a tensor like it, any strides; new and dense without it.

    Returns out. Raises ValueError or TypeError naming the argument.
    """
    tensors(q=q, freqs_cis=freqs_cis, positions=positions, **({} if out is None else {"out": out}))
    key = q.dtype, q.shape[-1], eps is None, q.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        module = module_for(spec(dtype_name(q.dtype), q.shape[-1], eps is not None), q)
        run = _ready[(*key[:-1], archs._host)] = module.run
    if out is None:
        import torch

        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    run(q, out, angles_of(freqs_cis), positions, 0.0 if eps is None else not_negative("eps", eps))
    return out


def q_norm_rope_reference(
    q: Any, freqs_cis: Any, positions: Any, *, eps: float | None, out: Any = None
) -> Any:
    """`q_norm_rope` token by token with torch's operations; everything on the CPU."""
    import torch

    angles = angles_of(freqs_cis)
    out = torch.empty(q.shape, dtype=q.dtype) if out is None else out
    for token, position in enumerate(clamped(positions, len(angles))):
        y = q[token] if eps is None else rounded(normalised(q[token], eps), q.dtype)
        out[token] = y
        turned = rotated(y[:, -ROPE_DIMS:].float(), angles[position])
        out[token, :, -ROPE_DIMS:] = rounded(turned, q.dtype)
    return out


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Every dtype, two head dims, and rotation alone, in place and not."""
    from functools import partial

    cases: list[tuple[str, int, float | None, bool]] = [("bfloat16", 512, 1e-6, False)]
    cases += [("float16", 512, 1e-6, True), ("float32", 192, 1e-20, True)]
    cases += [("bfloat16", 192, None, False)]
    return {
        f"q_norm_rope-{dtype}-d{dim}-eps{eps}-{'inplace' if inplace else 'out'}": partial(
            _golden, dtype, dim, eps, inplace
        )
        for dtype, dim, eps, inplace in cases
    }


def _golden(dtype: str, dim: int, eps: float | None, inplace: bool, device: Any) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs

    table = rope_table(70, base=10000.0).to(device)
    q = inputs.normal(1, (9, 7, dim + 64)).to(getattr(torch, dtype)).to(device)[..., 64:]
    positions = inputs.integers(2, (9,), -20, 90).to(device)
    return digest(q_norm_rope(q, table, positions, eps=eps, out=q if inplace else None))
