"""`compress_store`: compression and finalisation in one call, chosen by its ratio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import finishing, pages
from wavejit.bind import dtype_name, module_for
from wavejit.jit import arch as archs
from wavejit.ops import c4_compress_store, c128_compress_store
from wavejit.rearrange import refuse_unarranged
from wavejit.rotation import angles_of

_KERNELS = {4: c4_compress_store, 128: c128_compress_store}
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def compress_store(
    kv_buffer: Any,
    kv_input: Any,
    ape: Any,
    plan: Any,
    *,
    head_dim: int,
    ratio: int,
    norm_weight: Any,
    eps: float,
    freqs_cis: Any,
    out_loc: Any,
    cache: Any,
    layout: Any,
    page_size: int | None = None,
) -> Any:
    """`compress`, then `compress_norm_rope_store`, in one call and with the same bytes: one launch.

    kv_buffer, kv_input, ape, plan, head_dim, ratio: as for `compress`; the pooled rows, which
    `compress` would return in the input's dtype, are not written. norm_weight, eps, freqs_cis,
    out_loc, cache, layout, page_size: as for `compress_norm_rope_store`; head_dim must be
    layout.DIMS. Updates kv_buffer and cache in place and returns `cache`. A chunk's state rows
    are written by a second launch.

    For ratio 128 the first call with a plan allocates what the blocks of an entry need to hand
    over (2 KiB a row), kept with the plan: call it once before capturing a graph, and do not use
    one plan in two streams at a time. Raises ValueError or TypeError, naming the argument, for a
    wrong shape, stride, dtype or device.
    """
    try:
        dtypes = kv_buffer.dtype, kv_input.dtype, norm_weight.dtype, kv_input.get_device()
        chosen = layout, page_size, head_dim, ratio, ratio.__class__, plan.ratio, plan.is_decode
    except AttributeError:
        kv_buffer, kv_input, norm_weight = finishing.retaken(
            plan, kv_buffer=kv_buffer, kv_input=kv_input, norm_weight=norm_weight
        )
        dtypes = kv_buffer.dtype, kv_input.dtype, norm_weight.dtype, kv_input.get_device()
        chosen = layout, page_size, head_dim, ratio, ratio.__class__, plan.ratio, plan.is_decode
    key: Any = (*chosen, *dtypes, archs._host)
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, kv_buffer, kv_input, ape, plan, norm_weight)
    run, whole = found
    angles = angles_of(freqs_cis)
    rows = (plan.bound,) if plan.is_decode else plan.bound
    last = () if ratio == 4 else finishing.room_of(plan, head_dim)
    if not plan.is_decode:
        last = (*last, plan.wide)
    first, second = cache if isinstance(cache, tuple) else (cache, None)
    given = kv_buffer, kv_input, ape, *rows, norm_weight, eps, angles, out_loc
    try:
        run(*given, first, second, *last)
    except (ValueError, TypeError):
        first, second = pages.explained(whole, cache)
        run(*given, first, second, *last)
    except RuntimeError:
        finishing.forget_room(plan)  # a launch that failed leaves it in any state
        raise
    return cache


def _prepare(
    key: Any, kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, norm_weight: Any
) -> tuple[Callable[..., Any], Any]:
    layout, page_size, head_dim, ratio = key[:4]
    finishing.check_ratio(plan, ratio)
    whole = pages.settled(layout, page_size, kv_input)
    if head_dim != whole.DIMS:
        raise ValueError(f"head_dim: expected that of {whole}, {whole.DIMS}, got {head_dim!r}")
    refuse_unarranged(ape, ratio, head_dim)
    dtypes = [dtype_name(tensor.dtype) for tensor in (kv_buffer, kv_input, norm_weight)]
    module = module_for(_KERNELS[ratio].spec(whole, *dtypes), kv_input)
    found = (module.decode if plan.is_decode else module.prefill, whole)
    _ready[(*key[:-1], archs._host)] = found
    return found


def compress_store_reference(
    kv_buffer: Any,
    kv_input: Any,
    ape: Any,
    plan: Any,
    *,
    head_dim: int,
    ratio: int,
    norm_weight: Any,
    eps: float,
    freqs_cis: Any,
    out_loc: Any,
    cache: Any,
    layout: Any,
    page_size: int | None = None,
) -> Any:
    """`compress_store` in float64 with its rounding points; everything on the CPU."""
    from wavejit.front import compress_reference
    from wavejit.ops.compress_norm_rope_store import compress_norm_rope_store_reference

    finishing.check_locations(out_loc, kv_input.shape[0])
    kv = compress_reference(kv_buffer, kv_input, ape, plan, head_dim=head_dim, ratio=ratio)
    return compress_norm_rope_store_reference(
        kv,
        plan,
        ratio=ratio,
        norm_weight=norm_weight,
        eps=eps,
        freqs_cis=freqs_cis,
        out_loc=out_loc,
        cache=cache,
        layout=layout,
        page_size=page_size,
    )
