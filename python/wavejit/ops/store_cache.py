"""Quantise rows and store them in a cache of any layout (templates/store_cache.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import pages
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FlashMLA, Indexer, IndexerFp4, from_params

__all__ = ["store_cache"]
INPUTS = ("float", "bfloat16", "float16")
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(layout: Any, input: str, **constants: Any) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, and the rows' dtype."""
    layout = from_params(layout, constants)
    one_of("x dtype", input, INPUTS)
    return kernel_spec("store_cache", ("run",), **layout.params(), **layout.rules(), input=input)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """bf16 rows into a server's pages: the latent's (256, 64, 2 slots), the keys' fp8 and fp4."""
    latent = [FlashMLA(size) for size in (256, 64, 2)]
    shuffled = arch.target == "hip" and arch.wave_size == 64
    keys = [Indexer(64, preshuffled=shuffled), IndexerFp4(64)]
    return [spec(one.at(flavour=arch.fp8_flavour), "bfloat16") for one in (*latent, *keys)]


def store_cache(
    x: Any,
    cache: Any,
    loc: Any,
    *,
    layout: Any,
    page_size: int | None = None,
    skip_zero: bool = False,
) -> Any:
    """Store row i of `x` in slot `loc[i]` of `cache`, quantised as `layout` says.

    x: [tokens, layout.DIMS] fp32, bf16 or fp16, normed and rotated, rows may lie apart by a
    multiple of 16 bytes; cache: the tensor (or pair) that `layout` describes, updated in place;
    loc: int32 or int64 [tokens], no slot twice. page_size: slots of a page, unless the layout says
    it. A flavour that the layout leaves open is that of the device. Rows whose location is negative
    or past the last slot are skipped, and with `skip_zero` slot 0 too. Returns `cache`. Raises
    ValueError or TypeError, naming the argument, for a wrong shape, stride, dtype or device.
    """
    x, loc = taken(x=x, loc=loc)
    first, second = cache if isinstance(cache, tuple) and len(cache) == 2 else (cache, None)
    key = layout, page_size, x.dtype, x.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, x, layout, page_size)
    run, whole = found
    try:
        run(x, first, second, loc, skip_zero)
    except (ValueError, TypeError):
        first, second = pages.explained(whole, cache)
        run(x, first, second, loc, skip_zero)
    return cache


def _prepare(key: Any, x: Any, layout: Any, page_size: int | None) -> tuple[Any, Any]:
    whole = pages.settled(layout, page_size, x)
    module = module_for(spec(whole, dtype_name(x.dtype)), x)
    _ready[(*key[:-1], archs._host)] = found = (module.run, whole)
    return found


def store_cache_reference(
    x: Any,
    cache: Any,
    loc: Any,
    *,
    layout: Any,
    page_size: int | None = None,
    skip_zero: bool = False,
) -> Any:
    """`store_cache` byte by byte, from float64 values; everything on the CPU."""
    whole = pages.settled(layout, page_size, x)
    target = pages.Bytes(whole, cache)
    places = [
        (i, int(place))
        for i, place in enumerate(loc.tolist())
        if (1 if skip_zero else 0) <= place < target.capacity
    ]
    rows = x[[i for i, _ in places]].contiguous()
    codes, scales = _quantised(whole, rows.double().numpy())
    wide = _bf16_bytes(rows[:, whole.QUANTISED :])
    for i, (_, place) in enumerate(places):
        if codes is not None:
            page, inside = target.values(place, codes.shape[1])
            target.first[page, inside] = codes[i]
            page, inside = target.scales(place)
            target.first[page, inside] = scales[i]
        if wide.shape[1]:
            target.wide(place)[:] = wide[i]
    return cache


def _quantised(layout: Any, rows: Any) -> tuple[Any, Any]:
    """The codes' bytes [rows, 448, 128 or 64] and the scales' [rows, 7, 14 or 4]."""
    import numpy as np

    if layout.KIND == "Bf16Rows":
        return None, None
    if layout.KIND == "Indexer":
        codes, scale = pages.quantise_float(rows, layout)
        return codes, scale.astype("<f4").view(np.uint8).reshape(len(rows), 4)
    if layout.KIND == "IndexerFp4":
        return pages.quantise_fp4(rows, layout)
    codes, exponents = pages.quantise_ue8m0(pages.tiles_of(rows), layout)
    copies = 2 if layout.KIND == "TwoPool" else 1
    return codes.reshape(len(rows), 448), np.repeat(exponents[..., 0], copies, axis=1)


def _bf16_bytes(values: Any) -> Any:
    """bf16 to the nearest even, every NaN the quiet one: torch's cast, NaN set apart."""
    import torch

    wide = values.to(torch.bfloat16).contiguous().view(torch.int16).clone()
    wide[values.isnan()] = 0x7FC0
    return wide.view(torch.uint8).numpy()


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """A few rows into every layout in both flavours."""
    from wavejit.testing import parity_caches

    return parity_caches.store_cases()
