"""Rewrite a cache in the other flavour of e4m3 (templates/convert_cache.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import pages
from wavejit.bind import module_for
from wavejit.check import one_of, tensors
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
    if not layout.QUANTISED:
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
    cache: Any,
    src_layout: Any = None,
    dst_layout: Any = None,
    *,
    layout: Any = None,
    to: str | None = None,
    page_size: int | None = None,
    out: Any = None,
) -> Any:
    """Every slot of `cache`, which has `layout`, with the same values in flavour `to`; or from
    `src_layout` to `dst_layout`, which differ in nothing but their flavour.

    cache: the tensor (or pair) that `layout` describes, which says its flavour now (one left open
    is that of the device); to: "fn" or "fnuz". out: another cache of the same shape, whose bytes
    between the fields stay as they are; by default `cache` itself is rewritten.

    A group keeps its codes, and its scale is doubled or halved: no value changes. Where that cannot
    be, the scale stays and the values are rounded: from fnuz, groups with a 240 (none in a cache
    stored with fp8_max=224) lose the last bit of values below 2^-6 of their scale; scales at the
    ends of their range (2^127 and beyond, 2^-127) saturate or round. NaN stay NaN, -0 becomes 0.

    Returns the converted cache. Raises ValueError or TypeError, naming the argument.
    """
    target = cache if out is None else out
    first, second = cache if isinstance(cache, tuple) and len(cache) == 2 else (cache, None)
    other, fourth = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    tensors(cache=first, out=other)
    asked = src_layout, dst_layout, layout, to, page_size
    key = *asked, first.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, first, *_chosen(first, *asked))
    run, whole = found
    try:
        run(first, second, other, fourth)
    except (ValueError, TypeError):
        run(*pages.explained(whole, cache), *pages.explained(whole, target, "out"))
    return target


def _chosen(
    first: Any, source: Any, target: Any, layout: Any, to: str | None, page_size: int | None
) -> tuple[Any, str]:
    """The layout with nothing left open and the flavour that it gets, from either pair."""
    if source is None and target is None and layout is not None and to is not None:
        return pages.settled(layout, page_size, first), to
    if source is None or target is None or layout is not None or to is not None:
        raise TypeError("convert_cache: expected src_layout and dst_layout, or layout and to")
    whole, made = (pages.settled(one, page_size, first) for one in (source, target))
    if (whole.KIND, whole.page_size, whole.TILE) != (made.KIND, made.page_size, made.TILE):
        raise ValueError(f"dst_layout: expected {whole} but for its flavour, got {made}")
    return whole, str(made.flavour)


def _prepare(key: Any, first: Any, whole: Any, to: str) -> tuple[Any, Any]:
    module = module_for(spec(whole, to), first)
    _ready[(*key[:-1], archs._host)] = found = (module.run, whole)
    return found


def convert_cache_reference(
    cache: Any,
    src_layout: Any = None,
    dst_layout: Any = None,
    *,
    layout: Any = None,
    to: str | None = None,
    page_size: int | None = None,
    out: Any = None,
) -> Any:
    """`convert_cache` slot by slot in numpy; everything on the CPU."""
    first = cache[0] if isinstance(cache, (tuple, list)) else cache
    whole, to = _chosen(first, src_layout, dst_layout, layout, to, page_size)
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
