"""Read and dequantise rows of a cache of any layout (templates/load_cache.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import pages
from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FlashMLA, Indexer, IndexerFp4, from_params

__all__ = ["load_cache"]
OUTPUTS = ("float", "bfloat16")
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(layout: Any, output: str, **constants: Any) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, and the output's dtype."""
    layout = from_params(layout, constants)
    one_of("out dtype", output, OUTPUTS)
    return kernel_spec("load_cache", ("run",), **layout.params(), output=output)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The latent's pages of a server (64 slots) and the indexer's of both formats, as bf16."""
    shuffled = arch.target == "hip" and arch.wave_size == 64
    kinds = (FlashMLA(64), Indexer(64, preshuffled=shuffled), IndexerFp4(64))
    return [spec(one.at(flavour=arch.fp8_flavour), "bfloat16") for one in kinds]


def load_cache(
    cache: Any, loc: Any, *, layout: Any, page_size: int | None = None, out: Any = None
) -> Any:
    """Row i of the result is slot `loc[i]` of `cache`: code times scale, or the bf16.

    cache: the tensor (or pair) that `layout` describes; loc: int32 or int64 [tokens], any values:
    a negative one, or one past the last slot, gives a row of zeros. page_size: slots of a page,
    unless the layout says it. out: [tokens, layout.DIMS] bf16 or fp32, rows may lie apart by a
    multiple of 16 bytes; made in bf16 where it is not given. Raises ValueError or TypeError,
    naming the argument, for a wrong shape, stride, dtype or device.
    """
    pair = isinstance(cache, (tuple, list)) and len(cache) == 2
    first, second = cache if pair else (cache, None)
    if out is None:
        first, loc = taken(cache=first, loc=loc)
        rows = out = _allocate(first, loc, layout)
    else:
        first, loc, rows = taken(cache=first, loc=loc, out=out)
    key = layout, page_size, rows.dtype, first.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, first, layout, page_size)
    run, whole = found
    try:
        run(first, second, loc, rows)
    except (ValueError, TypeError):
        first, second = pages.explained(whole, cache)
        run(first, second, loc, rows)
    return out


def _allocate(first: Any, loc: Any, layout: Any) -> Any:
    import torch

    pages.known(layout)
    if loc.dim() != 1:
        raise ValueError(f"loc: expected a vector [tokens], got shape {list(loc.shape)}")
    return torch.empty((loc.shape[0], layout.DIMS), dtype=torch.bfloat16, device=first.device)


def _prepare(key: Any, first: Any, layout: Any, page_size: int | None) -> tuple[Any, Any]:
    whole = pages.settled(layout, page_size, first)
    module = module_for(spec(whole, dtype_name(key[2])), first)
    _ready[(*key[:-1], archs._host)] = found = (module.run, whole)
    return found


def load_cache_reference(
    cache: Any, loc: Any, *, layout: Any, page_size: int | None = None, out: Any = None
) -> Any:
    """`load_cache` byte by byte, in float64; everything on the CPU."""
    import numpy as np
    import torch

    first = cache[0] if isinstance(cache, (tuple, list)) else cache
    whole = pages.settled(layout, page_size, first)
    source = pages.Bytes(whole, cache)
    if out is None:
        out = _allocate(first, loc, layout)
    rows = np.zeros((len(loc), whole.DIMS))
    for i, place in enumerate(loc.tolist()):
        if 0 <= place < source.capacity:
            rows[i] = _row(whole, source, place)
    with np.errstate(over="ignore", invalid="ignore"):
        values = rows.astype(np.float32)
    out.copy_(torch.from_numpy(values))
    word, quiet = (torch.int32, 0x7FC00000) if out.element_size() == 4 else (torch.int16, 0x7FC0)
    out.view(word)[torch.from_numpy(np.isnan(values))] = quiet
    return out


def _row(layout: Any, source: pages.Bytes, place: int) -> Any:
    import numpy as np

    found = np.zeros(layout.DIMS)
    quantised = layout.QUANTISED
    if layout.KIND == "IndexerFp4":
        packed = source.first[source.values(place, quantised // 2)]
        return pages.decode_fp4(packed, source.first[source.scales(place)])
    if quantised:
        codes = source.first[source.values(place, quantised)]
        raw = source.first[source.scales(place)]
        if layout.KIND == "Indexer":
            with np.errstate(invalid="ignore"):  # of a NaN that signals
                scales = raw.copy().view("<f4").astype(np.float64)
        else:
            exponents = raw[::2] if layout.KIND == "TwoPool" else raw
            scales = np.where(exponents == 255, np.inf, 2.0 ** (exponents.astype(float) - 127))
            scales = np.repeat(scales, 64)
        with np.errstate(invalid="ignore"):
            found[:quantised] = pages.decode(codes, layout.flavour) * scales
    if quantised < layout.DIMS:
        halves = source.wide(place).copy().view("<u2").astype(np.uint32) << 16
        with np.errstate(invalid="ignore"):
            found[quantised:] = halves.view(np.float32)
    return found


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """A few rows out of random bytes in every layout and both flavours."""
    from wavejit.testing import parity_caches

    return parity_caches.load_cases()
