"""Rewrite a cache in the other flavour of e4m3 (templates/convert_cache.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wavejit import pages
from wavejit.bind import module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FLAVOURS, FlashMLA, Indexer, from_params

__all__ = ["convert_cache"]
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(layout: Any, to: str, **constants: Any) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, and the other flavour."""
    layout = from_params(layout, constants)
    to = to.lower()
    one_of("to", to, FLAVOURS)
    if not (layout.QUANTISED and layout.HAS_FLAVOURS):
        raise ValueError(f"layout: {layout} has no fp8 to convert")
    if layout.flavour == to:
        raise ValueError(f"to: {layout} has flavour {to} already")
    return kernel_spec("convert_cache", ("run",), **layout.params(), to=to.capitalize())


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """From the other flavour to the architecture's own: a cache that came from elsewhere."""
    own = arch.fp8_flavour
    other = "fn" if own == "fnuz" else "fnuz"
    return [spec(layout.at(flavour=other), own) for layout in (FlashMLA(64), Indexer(64))]


def convert_cache(
    cache: Any, src_layout: Any, dst_layout: Any, *, page_size: int | None = None, out: Any = None
) -> Any:
    """Every slot of `cache`, which has `src_layout`, with the same values in `dst_layout`.

    cache: the tensor (or pair) that `src_layout` describes. src_layout, dst_layout: one layout in
    two flavours, "fn" and "fnuz"; they may differ in flavour and fp8_max and in nothing else. A
    flavour left open is that of the device. page_size: slots of a page, unless a layout says it.
    out: another cache of the same shape, whose bytes between the fields stay as they are; by
    default `cache` itself is rewritten.

    A group keeps its codes, and its scale is doubled or halved: no value changes. Where that cannot
    be, the scale stays and the values are rounded: from fnuz, groups with a 240 (none in a cache
    stored with fp8_max=224) lose the last bit of values below 2^-6 of their scale; scales at the
    ends of their range (2^127 and beyond, 2^-127) saturate or round. NaN stay NaN, -0 becomes 0.

    Returns the converted cache. Raises ValueError or TypeError, naming the argument, and with both
    layouts where one cannot become the other.
    """
    target = cache if out is None else out
    first, second = _pools(cache)
    other, fourth = _pools(target)
    first, other = taken(cache=first, out=other)
    key = src_layout, dst_layout, page_size, first.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, first, src_layout, dst_layout, page_size)
    run, whole = found
    try:
        run(first, second, other, fourth)
    except (ValueError, TypeError):
        run(*pages.explained(whole, cache), *pages.explained(whole, target, "out"))
    return target


def _pools(cache: Any) -> Any:
    return cache if isinstance(cache, (tuple, list)) and len(cache) == 2 else (cache, None)


def _prepare(key: Any, first: Any, src: Any, dst: Any, page_size: int | None) -> tuple[Any, Any]:
    whole, to = _between(src, dst, page_size, first)
    module = module_for(spec(whole, to), first)
    _ready[(*key[:-1], archs._host)] = found = (module.run, whole)
    return found


def _between(src: Any, dst: Any, page_size: int | None, first: Any) -> tuple[Any, str]:
    """`src` with what it leaves open, and the flavour of `dst`; ValueError, with both, if only a
    store anew would make one of the other."""
    pages.known(src, "src_layout")
    pages.known(dst, "dst_layout")
    both = []
    for one, other in ((src, dst), (dst, src)):
        is_open = one.page_size is None and page_size is None
        both.append(pages.settled(one, other.page_size if is_open else page_size, first))
    alike = [replace(layout, flavour=None, fp8_max=None) for layout in both]
    pair = f"src_layout and dst_layout: got {both[0]} and {both[1]}"
    if alike[0] != alike[1]:
        raise ValueError(f"{pair}, expected them to differ in flavour and fp8_max alone")
    if not (both[0].QUANTISED and both[0].HAS_FLAVOURS):
        raise ValueError(f"{pair}: {both[0].KIND} has no fp8 to convert")
    if both[0].flavour == both[1].flavour:
        raise ValueError(f"{pair}, expected two flavours: both are {both[0].flavour}")
    return both[0], both[1].flavour


def convert_cache_reference(
    cache: Any, src_layout: Any, dst_layout: Any, *, page_size: int | None = None, out: Any = None
) -> Any:
    """`convert_cache` slot by slot in numpy; everything on the CPU."""
    first = cache[0] if isinstance(cache, (tuple, list)) else cache
    whole, to = _between(src_layout, dst_layout, page_size, first)
    target = cache if out is None else out
    source, written = pages.Bytes(whole, cache), pages.Bytes(whole, target)
    for place in range(source.capacity):
        values, scales = source.values(place, whole.QUANTISED), source.scales(place)
        codes = source.first[values].reshape(-1, 128 if whole.KIND == "Indexer" else 64)
        codes, moved = _converted(codes, source.first[scales], whole, to)
        written.first[values] = codes.reshape(-1)
        written.first[scales] = moved
        if whole.QUANTISED < whole.DIMS:
            written.wide(place)[:] = source.wide(place)
    return target


def _converted(codes: Any, raw: Any, layout: Any, to: str) -> tuple[Any, Any]:
    """Codes [groups, dims] and scale bytes -> those of the other flavour."""
    import numpy as np

    scales, moved, exact = _moved_scales(raw, layout, to)
    if to == "fn":
        exact = exact & ~((codes & 0x7F) == 0x7F).any(axis=1)
    values = pages.decode(codes, layout.flavour)
    factor = 2.0 if to == "fn" else 0.5  # of a value, in units of a scale that moved
    values = np.where(exact[:, None], values * factor, values)
    top = 448 if to == "fn" else 240
    found = np.where(exact, moved, scales)
    copies = 2 if layout.KIND == "TwoPool" else 1
    return pages.encode(values, to, top, "code"), np.repeat(found, copies).view(np.uint8)


def _moved_scales(raw: Any, layout: Any, to: str) -> tuple[Any, Any, Any]:
    """The scales as they are stored, moved by a power of two, and whether that is exact."""
    import numpy as np

    if layout.KIND == "Indexer":
        scales = raw.copy().view("<f4")
        with np.errstate(over="ignore", invalid="ignore"):
            wide = scales.astype(np.float64) * (0.5 if to == "fn" else 2.0)
            moved = wide.astype(np.float32)
        return scales, moved, np.isfinite(moved) & (moved == wide)
    exponents = raw[::2] if layout.KIND == "TwoPool" else raw
    moved = exponents.astype(int) + (-1 if to == "fn" else 1)
    exact = (moved >= 0) & (moved <= 254) & (exponents < 255)
    return exponents, (moved % 256).astype(np.uint8), exact


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Random bytes of every layout that has fp8, to the other flavour."""
    from wavejit.testing import parity_caches

    return parity_caches.convert_cases()
