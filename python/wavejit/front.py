"""The ops that choose a kernel by their arguments: `compress` by its ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.check import one_of, positive
from wavejit.finishing import retaken
from wavejit.jit import arch as archs
from wavejit.ops import c4_compress, c128_compress
from wavejit.rearrange import refuse_unarranged

OFFERED = ("CompressStatePool", "compress", "compress_store", "overlap_transform", "rearrange_ape")
_KERNELS = {4: c4_compress, 128: c128_compress}
_REFERENCES = {
    4: c4_compress.c4_compress_reference,
    128: c128_compress.c128_compress_reference,
}
_ready: dict[Any, Callable[..., Any]] = {}


def compress(
    kv_buffer: Any,
    kv_input: Any,
    ape: Any,
    plan: Any,
    *,
    head_dim: int,
    ratio: int,
    out: Any = None,
) -> Any:
    """Pool every complete group of `ratio` tokens into one latent row, and save rows to the ring.

    kv_buffer: [pages, ratio, row_width] fp32 or bf16, the state pool, updated in place;
    kv_input: [tokens, row_width] fp32 or bf16, rows may lie apart; ape: [window, head_dim] in the
    input's dtype, re-arranged; plan: from compress_plan_decode (one row a request) or
    compress_plan_prefill. row_width is 4 * head_dim and window 8 for ratio 4, 2 * head_dim and
    128 for ratio 128.

    Returns `out`: [requests, head_dim] for a decode plan, of which only the rows that end a group
    are written, or [plan_c rows, head_dim]; in the input's dtype, or bf16 when `out` is given so.
    Rows whose plan is invalid or points outside a tensor are skipped. Raises ValueError or
    TypeError, naming the argument, for a wrong shape, stride, dtype or device.
    """
    try:
        if out is None:
            out = _allocate(kv_input, plan, head_dim)
        key = (
            ratio,
            ratio.__class__,  # 4.0 is no ratio
            plan.ratio,
            head_dim,
            plan.is_decode,
            kv_buffer.dtype,
            kv_input.dtype,
            out.dtype,
            kv_input.get_device(),
            archs._host,
        )
    except AttributeError:
        kv_buffer, kv_input, ape, *rows = _retaken(kv_buffer, kv_input, ape, plan, out)
        made = compress(
            kv_buffer, kv_input, ape, plan, head_dim=head_dim, ratio=ratio, out=(*rows, None)[0]
        )
        return made if out is None else out
    run = _ready.get(key)
    if run is None:
        refuse_unarranged(ape, ratio, positive("head_dim", head_dim))
        run = _prepare(key, kv_buffer, kv_input, out, plan, head_dim, ratio)
    if plan.is_decode:
        run(kv_buffer, kv_input, ape, plan.bound, out)
    else:
        plan_c, plan_w = plan.bound
        run(kv_buffer, kv_input, ape, plan_c, plan_w, out, plan.wide)
    return out


def _retaken(kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, out: Any) -> list[Any]:
    """The arguments as torch's after they were not; TypeError for what is no tensor or no plan."""
    given = {"kv_buffer": kv_buffer, "kv_input": kv_input, "ape": ape}
    if out is not None:
        given["out"] = out
    found = retaken(plan, **given)
    if all(one is other for one, other in zip(found, given.values(), strict=True)):
        raise  # nothing that another attempt would change
    return found


def _allocate(kv_input: Any, plan: Any, head_dim: int) -> Any:
    rows = plan.plan_d if plan.is_decode else plan.plan_c
    return kv_input.new_empty((rows.shape[0], positive("head_dim", head_dim)))


def _prepare(
    key: Any, kv_buffer: Any, kv_input: Any, out: Any, plan: Any, head_dim: int, ratio: int
) -> Callable[..., Any]:
    one_of("ratio", ratio, tuple(_KERNELS))
    if plan.ratio != ratio:
        raise ValueError(f"plan: expected one of ratio {ratio}, got one of ratio {plan.ratio}")
    run: Callable[..., Any] = _KERNELS[ratio].prepare(
        kv_buffer, kv_input, out, plan, positive("head_dim", head_dim)
    )
    _ready[(*key[:-1], archs._host)] = run
    return run


def compress_reference(
    kv_buffer: Any,
    kv_input: Any,
    ape: Any,
    plan: Any,
    *,
    head_dim: int,
    ratio: int,
    out: Any = None,
) -> Any:
    """`compress` in float64 with its rounding points; everything on the CPU."""
    one_of("ratio", ratio, tuple(_KERNELS))
    if out is None:
        out = _allocate(kv_input, plan, head_dim)
    return _REFERENCES[ratio](kv_buffer, kv_input, ape, plan, head_dim=head_dim, out=out)


def load(name: str) -> Any:
    """One of OFFERED."""
    if name == "CompressStatePool":
        from wavejit.state_pool import CompressStatePool

        return CompressStatePool
    if name == "compress_store":
        from wavejit.fused import compress_store

        return compress_store
    if name in ("overlap_transform", "rearrange_ape"):
        from wavejit import rearrange

        return getattr(rearrange, name)
    return globals()[name]
