"""Queries and keys of the same tokens in one launch (templates/qk_norm_rope_store.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import pages
from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FlashMLA, from_params
from wavejit.presets import preset_name
from wavejit.rotation import angles_of
from wavejit.rounding import rounded

__all__ = ["qk_norm_rope_store"]
DTYPES = ("bfloat16", "float16")
WEIGHTS = ("bfloat16", "float16", "float")
PARTIALS = (None, "float", "bfloat16")
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(
    layout: Any,
    element: str = "bfloat16",
    weight: str = "bfloat16",
    preset: str = "default",
    norm: Any = True,
    partial: str | None = None,
    keeps_rows: Any = False,
    **constants: Any,
) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, dtypes, and the preset.

    norm: False where queries are only rotated. partial: the dtype of partial results, None where
    queries are whole. keeps_rows: whether normalised rows are written too.
    """
    source = str(constants.pop("source", ""))
    if "Partial" in source:
        partial = source.removesuffix(">").rpartition(" ")[2]
    layout, preset = from_params(layout, constants), preset_name(preset)
    one_of("kv dtype", element, DTYPES)
    one_of("weight dtype", weight, WEIGHTS)
    one_of("partial q dtype", partial, PARTIALS)
    if layout.DIMS != 512:
        raise ValueError(f"layout: expected one of 512 dims, got {layout}")
    return kernel_spec(
        "qk_norm_rope_store",
        ("run",),
        **layout.params(),
        **layout.rules(),
        element=element,
        weight=weight,
        preset=preset.capitalize(),
        norm="true" if norm in (True, "true") else "false",
        source=f"PartialHeads<Query, {partial}>" if partial else "WholeHeads<Query>",
        keeps_rows="true" if keeps_rows in (True, "true") else "false",
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """bf16 queries and a server's sliding-window pages of 256 slots.

    On AMD also what its server does: its preset, rows kept, and queries that come in parts.
    """
    layout = FlashMLA(256).at(flavour=arch.fp8_flavour)
    made = [spec(layout)]
    if arch.target == "hip":
        servers = {"preset": "amd", "keeps_rows": True}
        made += [spec(layout, partial=partial, **servers) for partial in (None, "float")]
    return made


def qk_norm_rope_store(
    q: Any,
    kv: Any,
    kv_weight: Any,
    freqs_cis: Any,
    positions: Any,
    out_loc: Any,
    cache: Any,
    *,
    q_eps: float | None,
    kv_eps: float,
    layout: Any,
    page_size: int | None = None,
    out: Any = None,
    kv_out: Any = None,
    preset: str = "default",
    skip_zero: bool = False,
) -> Any:
    """`q_norm_rope` of `q` and `k_norm_rope_store` of `kv` in one launch, with their bytes.

    q: [tokens, heads, 512] of kv's dtype, any token and head strides that are multiples of 16
    bytes; or partial results [splits, tokens, heads, 512], fp32 or bf16, which are summed in fp32,
    the first two first, before anything else. q_eps: added to the mean of a head's squares; None:
    queries are only rotated. out: [tokens, heads, 512] of kv's dtype, any strides, q itself too;
    new and dense without it.
    kv: [tokens, 512] bf16 or fp16; kv_weight, freqs_cis, positions, out_loc, cache, layout,
    page_size, skip_zero: as k_norm_rope_store's, kv_eps as its eps. kv_out: [tokens, 512] of kv's
    dtype, kv itself too: gets every row normalised and rotated, rounded once; None: not written.
    preset: as k_norm_rope_store's for keys and q_norm_rope's for queries.

    Returns the queries. Raises ValueError or TypeError naming the argument.
    """
    q, kv, kv_weight = taken(q=q, kv=kv, kv_weight=kv_weight)
    freqs_cis, positions, out_loc = taken(freqs_cis=freqs_cis, positions=positions, out_loc=out_loc)
    first, second = cache if isinstance(cache, tuple) and len(cache) == 2 else (cache, None)
    kinds = q.dtype if q.dim() == 4 else None, kv.dtype, kv_weight.dtype
    key = (layout, page_size, preset, *kinds, q_eps is None, kv_out is None, kv.get_device())
    found = _ready.get((*key, archs._host))
    run, whole = found or _prepare(key, kv)
    if out is None:
        import torch

        out = torch.empty(q.shape[-3:], dtype=kv.dtype, device=q.device)
    (into,), (kept,) = taken(out=out), (None,) if kv_out is None else taken(kv_out=kv_out)
    given = q, into, kv, kv_weight, kept, angles_of(freqs_cis), positions
    scale = 0.0 if q_eps is None else not_negative("q_eps", q_eps)
    rest = out_loc, scale, not_negative("kv_eps", kv_eps), skip_zero
    try:
        run(*given, first, second, *rest)
    except (ValueError, TypeError):
        run(*given, *pages.explained(whole, cache), *rest)
    return out


def _prepare(key: Any, kv: Any) -> tuple[Any, Any]:
    layout, page_size, preset, partial, element, weight, only_rotated, drops_rows, _ = key
    whole = pages.settled(layout, page_size, kv)
    wanted = spec(
        whole,
        dtype_name(element),
        dtype_name(weight),
        preset,
        norm=not only_rotated,
        partial=partial and dtype_name(partial),
        keeps_rows=not drops_rows,
    )
    run = module_for(wanted, kv).run
    _ready[(*key, archs._host)] = found = (run, whole)
    return found


def qk_norm_rope_store_reference(
    q: Any,
    kv: Any,
    kv_weight: Any,
    freqs_cis: Any,
    positions: Any,
    out_loc: Any,
    cache: Any,
    *,
    q_eps: float | None,
    kv_eps: float,
    layout: Any,
    page_size: int | None = None,
    out: Any = None,
    kv_out: Any = None,
    preset: str = "default",
    skip_zero: bool = False,
) -> Any:
    """`qk_norm_rope_store` with torch's operations, then store_cache's bytes; on the CPU."""
    import torch

    from wavejit.ops.k_norm_rope_store import k_norm_rope_store_reference, normalised_rows
    from wavejit.ops.q_norm_rope import finished

    out = torch.empty(q.shape[-3:], dtype=kv.dtype) if out is None else out
    x = q
    if q.dim() == 4:
        x = q[0].float()
        for more in q[1:]:
            x = x + more.float()
    finished(x, freqs_cis, positions, q_eps, out, preset)
    rows = kv, kv_weight, freqs_cis, positions
    k_norm_rope_store_reference(
        *rows,
        out_loc,
        cache,
        eps=kv_eps,
        layout=layout,
        page_size=page_size,
        preset=preset,
        skip_zero=skip_zero,
    )
    if kv_out is not None:
        kv_out.copy_(rounded(normalised_rows(*rows, kv_eps, preset), kv.dtype))
    return out


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Every preset, layout and source of queries at least once, and a batch of many tokens."""
    from functools import partial

    cases: dict[str, tuple[str, str | None, float | None, str, bool]] = {
        "flashmla-64-fn": ("bfloat16", None, 1e-6, "default", False),
        "flashmla-2-fnuz": ("bfloat16", None, None, "cuda", True),
        "flashmla-5-fnuz-224": ("bfloat16", "float32", 1e-6, "amd", True),
        "two-pool-fn": ("float16", "float32", None, "default", False),
        "rows": ("bfloat16", "bfloat16", 1e-6, "default", False),
    }
    found = {
        f"qk_norm_rope_store-{layout}-{'-'.join(map(str, case))}": partial(_golden, layout, *case)
        for layout, case in cases.items()
    }
    many = "flashmla-5-fnuz-224"
    found["qk_norm_rope_store-many"] = partial(_golden, many, *cases[many], tokens=259, heads=1)
    return found


def _golden(
    name: str,
    element: str,
    partial: str | None,
    q_eps: float | None,
    preset: str,
    inplace: bool,
    device: Any,
    tokens: int = 13,
    heads: int = 5,
) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import digest, inputs, parity_caches

    layout = parity_caches.LAYOUTS[name].at()
    table = rope_table(70, base=10000.0).to(device)
    shape = (3, tokens, heads, 512) if partial else (tokens, heads, 512)
    q = inputs.normal(4, shape).to(getattr(torch, partial or element)).to(device)
    kv = inputs.normal(1, (tokens, 512 + 64), 3.0).to(getattr(torch, element)).to(device)[:, 64:]
    weights = inputs.normal(2, (512,)).to(getattr(torch, element)).to(device)
    positions = inputs.integers(3, (tokens,), -5, 80).to(device)
    cache = parity_caches.any_cache(layout, device)
    loc = torch.full((tokens,), -1, dtype=torch.int32)
    loc[-13:] = parity_caches.places(13)
    loc = loc.to(device)
    rows = kv if inplace else None
    options = {"q_eps": q_eps, "kv_eps": 1e-6, "layout": layout, "preset": preset, "kv_out": rows}
    out = q if inplace and not partial else None
    given = q, kv, weights, table, positions, loc, cache
    made = qk_norm_rope_store(*given, out=out, **options)
    return str(digest(made, kv.contiguous(), *(cache if isinstance(cache, tuple) else (cache,))))
