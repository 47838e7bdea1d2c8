"""Queries normalised head by head and rotated (templates/q_norm_rope.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, tensors
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.presets import PRESETS
from wavejit.rotation import ROPE_DIMS, angles_of, clamped, rotated
from wavejit.rounding import normalised, rounded

__all__ = ["q_norm_rope"]
DTYPES = ("bfloat16", "float16", "float")
DIMS = (128, 192, 256, 512)
_ready: dict[Any, Callable[..., Any]] = {}


def spec(element: str, dim: int = 512, norm: bool = True, preset: str = "default") -> KernelSpec:
    """One instance: the queries' dtype and head dim; norm: False where they are only rotated."""
    preset = preset.lower()
    one_of("q dtype", element, DTYPES)
    one_of("preset", preset, tuple(PRESETS))
    one_of("q's head dim", dim, DIMS)
    return kernel_spec(
        "q_norm_rope",
        ("run",),
        element=element,
        dim=dim,
        norm="true" if norm in (True, "true") else "false",
        preset="Amd" if preset == "amd" else "Default",  # the others round queries alike
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The attention's bf16 queries."""
    return [spec("bfloat16")]


def q_norm_rope(
    q: Any,
    freqs_cis: Any,
    positions: Any,
    *,
    eps: float | None,
    out: Any = None,
    preset: str = "default",
) -> Any:
    """Each head by its root mean square, rounded; then its last 64 dims rotated, rounded again.

    q: [tokens, heads, D] bf16, fp16 or fp32, D one of 128, 192, 256, 512; any token and head
    strides that are multiples of 16 bytes. freqs_cis: from rope_table, complex64 [positions, 32]
    or its fp32 [positions, 64]. positions: int32 or int64 [tokens]; one outside the table counts as
    the nearest in it. eps: added to the mean of the squares; None: rotate only. out: q itself (in
    place) or a tensor like it, any strides; new and dense without it. preset: "default" or "cuda"
    as said; "amd" rotates before anything is rounded, by angles rounded to bf16.

    Returns out. Raises ValueError or TypeError naming the argument.
    """
    tensors(q=q, freqs_cis=freqs_cis, positions=positions, **({} if out is None else {"out": out}))
    key = q.dtype, q.shape[-1], eps is None, preset, q.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        module = module_for(spec(dtype_name(q.dtype), q.shape[-1], eps is not None, preset), q)
        run = _ready[(*key[:-1], archs._host)] = module.run
    if out is None:
        import torch

        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    run(q, out, angles_of(freqs_cis), positions, 0.0 if eps is None else not_negative("eps", eps))
    return out


def q_norm_rope_reference(
    q: Any,
    freqs_cis: Any,
    positions: Any,
    *,
    eps: float | None,
    out: Any = None,
    preset: str = "default",
) -> Any:
    """`q_norm_rope` token by token with torch's operations; everything on the CPU."""
    import torch

    out = torch.empty(q.shape, dtype=q.dtype) if out is None else out
    return finished(q, freqs_cis, positions, eps, out, preset)


def finished(
    x: Any, freqs_cis: Any, positions: Any, eps: float | None, out: Any, preset: str
) -> Any:
    """For references: heads `x`, of any dtype, normalised, rotated and rounded into `out`."""
    angles, rules = angles_of(freqs_cis), PRESETS[preset]
    if rules.angles:
        angles = angles.bfloat16().float()
    for token, position in enumerate(clamped(positions, len(angles))):
        y = x[token] if eps is None else normalised(x[token], eps)
        tail = y[:, -ROPE_DIMS:]
        if rules.head_first:
            tail = rounded(tail, out.dtype)
        turned = rotated(tail.float(), angles[position])
        out[token] = y if eps is None and x.dtype == out.dtype else rounded(y, out.dtype)
        out[token, :, -ROPE_DIMS:] = rounded(turned, out.dtype)
    return out


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Every dtype, two head dims, rotation alone, in place and not; the preset that differs."""
    from functools import partial

    cases: list[tuple[str, int, float | None, bool]] = [("bfloat16", 512, 1e-6, False)]
    cases += [("float16", 512, 1e-6, True), ("float32", 192, 1e-20, True)]
    cases += [("bfloat16", 192, None, False)]
    found = {
        f"q_norm_rope-{dtype}-d{dim}-eps{eps}-{'inplace' if inplace else 'out'}": partial(
            _golden, dtype, dim, eps, inplace, "default"
        )
        for dtype, dim, eps, inplace in cases
    }
    return {**found, "q_norm_rope-amd": partial(_golden, "bfloat16", 512, 1e-6, False, "amd")}


def _golden(
    dtype: str, dim: int, eps: float | None, inplace: bool, preset: str, device: Any
) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs

    table = rope_table(70, base=10000.0).to(device)
    q = inputs.normal(1, (9, 7, dim + 64)).to(getattr(torch, dtype)).to(device)[..., 64:]
    positions = inputs.integers(2, (9,), -20, 90).to(device)
    options: dict[str, Any] = {"eps": eps, "preset": preset}
    return digest(q_norm_rope(q, table, positions, out=q if inplace else None, **options))
