"""Finalise pooled rows: norm, rotation, quantisation and store.

templates/compress_norm_rope_store.cuh.j2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import finishing, pages
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import from_params
from wavejit.rotation import angles_of

__all__ = ["compress_norm_rope_store"]
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(layout: Any, input: str, weight: str, ratio: int, **constants: Any) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, the dtypes, the ratio."""
    layout = from_params(layout, constants)
    one_of("kv dtype", input, finishing.DTYPES)
    one_of("norm_weight dtype", weight, finishing.DTYPES)
    one_of("ratio", ratio, finishing.RATIOS)
    return kernel_spec(
        "compress_norm_rope_store",
        ("decode", "prefill"),
        **layout.params(),
        **layout.rules(),
        input=input,
        weight=weight,
        ratio=ratio,
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The latent of both ratios and the indexer's keys in both formats, from fp32 rows."""
    return [
        spec(layout, "float", "float", ratio) for ratio, layout in finishing.served_layouts(arch)
    ]


def compress_norm_rope_store(
    kv: Any,
    plan: Any,
    *,
    ratio: int,
    norm_weight: Any,
    eps: float,
    freqs_cis: Any,
    out_loc: Any,
    cache: Any,
    layout: Any,
    page_size: int | None = None,
) -> Any:
    """Norm, rotate, quantise and store what `compress` returned.

    kv: [plan rows, layout.DIMS] fp32 or bf16; plan: the one that made it; norm_weight:
    [layout.DIMS] fp32 or bf16; freqs_cis: [positions, 32] complex64 or [positions, 64] fp32 (cos,
    sin, cos, ...), turned by at position seq_len - ratio; out_loc: int32 or int64, the entry's
    slot, for each request of a decode plan or each token of a chunk and no fewer; cache: the
    tensor (or pair) that `layout` describes, updated in place. page_size: slots of a page, unless
    the layout says it. Rows that end no group or are invalid, and rows whose slot or position lies
    outside, write nothing. Returns `cache`. Raises ValueError or TypeError, naming the argument,
    for a wrong shape, stride, dtype or device.
    """
    try:
        key = _key(kv, plan, ratio, norm_weight, layout, page_size)
    except AttributeError:
        kv, norm_weight = finishing.retaken(plan, kv=kv, norm_weight=norm_weight)
        key = _key(kv, plan, ratio, norm_weight, layout, page_size)
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, kv, plan, ratio, norm_weight, layout, page_size)
    run, whole = found
    if not plan.is_decode and plan.num_q_tokens is not None:
        finishing.check_locations(out_loc, plan.num_q_tokens)
    rows = (plan.bound,) if plan.is_decode else (plan.bound[0],)
    wide = () if plan.is_decode else (plan.wide,)
    angles = angles_of(freqs_cis)
    first, second = cache if isinstance(cache, tuple) else (cache, None)
    try:
        run(kv, *rows, norm_weight, eps, angles, out_loc, first, second, *wide)
    except (ValueError, TypeError):
        first, second = pages.explained(whole, cache)
        run(kv, *rows, norm_weight, eps, angles, out_loc, first, second, *wide)
    return cache


def _key(kv: Any, plan: Any, ratio: int, norm_weight: Any, layout: Any, size: int | None) -> Any:
    given = kv.dtype, norm_weight.dtype, kv.get_device(), plan.is_decode, plan.ratio
    return layout, size, ratio, ratio.__class__, *given, archs._host


def _prepare(
    key: Any, kv: Any, plan: Any, ratio: int, norm_weight: Any, layout: Any, size: int | None
) -> tuple[Callable[..., Any], Any]:
    finishing.check_ratio(plan, ratio)
    whole = pages.settled(layout, size, kv)
    made = spec(whole, dtype_name(kv.dtype), dtype_name(norm_weight.dtype), ratio)
    module = module_for(made, kv)
    found = (module.decode if plan.is_decode else module.prefill, whole)
    _ready[(*key[:-1], archs._host)] = found
    return found


def compress_norm_rope_store_reference(
    kv: Any,
    plan: Any,
    *,
    ratio: int,
    norm_weight: Any,
    eps: float,
    freqs_cis: Any,
    out_loc: Any,
    cache: Any,
    layout: Any,
    page_size: int | None = None,
) -> Any:
    """`compress_norm_rope_store` row by row, in float64 between its rounding points; on the CPU."""
    from wavejit.ops.store_cache import store_cache_reference

    finishing.check_ratio(plan, ratio)
    rows = plan.plan_d.shape[0] if plan.is_decode else plan.num_q_tokens or 0
    finishing.check_locations(out_loc, rows)
    whole = pages.settled(layout, page_size, kv)
    angles = angles_of(freqs_cis)
    found = list(finishing.entries_of(plan, ratio, out_loc.tolist(), angles.shape[0]))
    if found:
        given = [kv[row] for row, _, _ in found]
        made = [
            finishing.finished(x, norm_weight, eps, angles[position], whole)
            for x, (_, _, position) in zip(given, found, strict=True)
        ]
        import torch

        locs = torch.tensor([loc for _, loc, _ in found])
        store_cache_reference(torch.stack(made), cache, locs, layout=whole)
    return cache


def golden_cases() -> dict[str, Callable[[Any], str]]:
    from wavejit.testing import parity_store

    return parity_store.finishing_cases()
