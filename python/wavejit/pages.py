"""Between a call and a cache's kernels: which layout and function, and errors that print both.

Also the definition of a cache's bytes for the references: pages are built byte by byte in numpy
from the numbers in this file's own tables, without the layouts' or the kernels' help.
"""

from __future__ import annotations

from functools import cache as cached
from typing import Any

from wavejit.bind import arch_of
from wavejit.check import tensors
from wavejit.jit import arch as archs
from wavejit.layouts import Layout

_TILE = 64
_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NOT_A_NUMBER = {"fn": (0x7F, 0xFF), "fnuz": (0x80,)}


def known(layout: Any, name: str = "layout") -> None:
    """TypeError unless it is a layout."""
    if not isinstance(layout, Layout):
        raise TypeError(f"{name}: expected one of wavejit.layouts, got {layout!r}")


def settled(layout: Any, page_size: int | None, tensor: Any) -> Any:
    """`layout` with its page size and flavour known: a flavour left open is that of the device."""
    known(layout)
    return layout.at(page_size, archs.load(arch_of(tensor)).fp8_flavour)


def pools(layout: Any, cache: Any, name: str = "cache") -> tuple[Any, Any]:
    """The cache's tensor as [pages, elements], and the second pool or None."""
    if isinstance(cache, (tuple, list)):
        found = layout.pools(cache, name)
        return found[0], found[1] if len(found) > 1 else None
    tensors(**{name: cache})
    if cache.dim() > 2 and cache.stride(1) == cache[0].numel() // max(cache.shape[1], 1):
        return cache.flatten(1), None  # pages in any view, such as [pages, 64, 1, 132]
    return cache, None


def explained(layout: Any, cache: Any, name: str = "cache") -> tuple[Any, Any]:
    """The pools of a cache that was refused, if a view of it has the layout; else its error."""
    first, second = pools(layout, cache, name)
    layout.check(first if second is None else (first, second), name)
    return first, second


# --- the definition -----------------------------------------------------------------------------


@cached
def _magnitudes(flavour: str) -> Any:
    """The values of codes 0 to 0x7f in float64, NaN where there is none."""
    import numpy as np

    bias = 7 if flavour == "fn" else 8
    codes = np.arange(128)
    exponent, mantissa = codes >> 3, codes & 7
    subnormal = mantissa / 8 * 2.0 ** (1 - bias)
    values = np.where(exponent == 0, subnormal, (1 + mantissa / 8) * 2.0 ** (exponent - bias))
    if flavour == "fn":
        values[0x7F] = np.nan
    return values


def encode(values: Any, flavour: str, maximum: int, nan: str) -> Any:
    """float64 [...] -> the code of the nearest value, ties to the even code, saturated."""
    import numpy as np

    table = _magnitudes(flavour)
    table = table[: int(np.flatnonzero(table == maximum)[0]) + 1]
    size = np.minimum(np.abs(values), maximum)
    size[np.isnan(values)] = maximum
    upper = np.searchsorted(table, size).clip(1, len(table) - 1)
    below, above = size - table[upper - 1], table[upper] - size
    up = (above < below) | ((above == below) & (upper % 2 == 0))
    codes = np.where(up, upper, upper - 1)
    sign = np.signbit(values) & ~np.isnan(values)
    if flavour == "fnuz":
        sign &= codes != 0
    codes = codes | np.where(sign, 0x80, 0)
    if nan == "code":
        codes[np.isnan(values)] = NOT_A_NUMBER[flavour][0]
    return codes.astype(np.uint8)


def decode(codes: Any, flavour: str) -> Any:
    """Codes -> float64."""
    import numpy as np

    values = _magnitudes(flavour)[codes & 0x7F] * np.where(codes & 0x80, -1.0, 1.0)
    if flavour == "fnuz":
        values[codes == 0x80] = np.nan
    return values


def quantise_ue8m0(tiles: Any, layout: Any) -> tuple[Any, Any]:
    """float64 [..., dims of a tile] -> codes and exponent bytes [..., 1]."""
    scaled, byte = _scaled_ue8m0(tiles, layout.amax_floor, layout.fp8_max)
    return encode(scaled, layout.flavour, layout.fp8_max, layout.nan), byte


def _scaled_ue8m0(tiles: Any, floor: float, maximum: int) -> tuple[Any, Any]:
    """float64 [..., dims of a group] over its power of two, and that one's byte [..., 1]."""
    import numpy as np

    amax = np.abs(np.where(np.isnan(tiles), 0, tiles)).max(axis=-1, keepdims=True)
    top = np.maximum(amax.astype(np.float32), np.float32(floor))
    scale = top / np.float32(maximum)
    fraction, exponent = np.frexp(np.where(np.isinf(scale), 1, scale))  # scale = fraction * 2^e
    byte = exponent + 126 + (fraction > 0.5)
    byte = np.where(np.isinf(scale), 253, byte)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (tiles * 2.0 ** (127.0 - byte)).astype(np.float32).astype(np.float64)
    return scaled, byte.astype(np.uint8)


def quantise_float(rows: Any, layout: Any) -> tuple[Any, Any]:
    """float64 [..., dims] -> codes and fp32 scales [..., 1]."""
    import numpy as np

    amax = np.abs(np.where(np.isnan(rows), 0, rows)).max(axis=-1, keepdims=True)
    top = np.maximum(amax.astype(np.float32), np.float32(layout.amax_floor))
    top = np.minimum(top, np.finfo(np.float32).max)
    scale = top / np.float32(layout.fp8_max)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = rows.astype(np.float32) * (np.float32(1) / scale)
    return encode(scaled.astype(np.float64), layout.flavour, layout.fp8_max, layout.nan), scale


def quantise_fp4(rows: Any, layout: Any) -> tuple[Any, Any]:
    """float64 [rows, 128] -> two codes in a byte [rows, 64] and the scales' bytes [rows, 4]."""
    import numpy as np

    groups = rows.reshape(len(rows), 4, 32)
    scaled, exponents = _scaled_ue8m0(groups, layout.amax_floor, 6)
    size = np.where(np.isnan(scaled), 6, np.minimum(np.abs(scaled), 6)).reshape(len(rows), 128)
    middles = (np.array(_FP4[1:]) + np.array(_FP4[:-1])) / 2
    codes = (size[..., None] > middles).sum(axis=-1)  # of two as near, the lower
    minus = (scaled < 0).reshape(codes.shape) & (codes > 0)
    codes = np.where(minus, codes + 8, codes).astype(np.uint8)
    return codes[:, 0::2] | codes[:, 1::2] << 4, exponents[..., 0]


def decode_fp4(packed: Any, exponents: Any) -> Any:
    """64 bytes and the four scales' -> 128 values in float64."""
    import numpy as np

    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)
    values = np.array([*_FP4, *(-value for value in _FP4)])[codes]
    scales = np.where(exponents == 255, np.inf, 2.0 ** (exponents.astype(float) - 127))
    with np.errstate(invalid="ignore"):
        return values * np.repeat(scales, 32)


def tiles_of(rows: Any) -> Any:
    """The quantised dims of latent rows as [rows, 7, 64]."""
    return rows[:, : 7 * _TILE].reshape(len(rows), 7, _TILE)


class Bytes:
    """A cache on the CPU as numpy bytes, and where a slot's fields lie in it."""

    def __init__(self, layout: Any, cache: Any) -> None:
        first, second = pools(layout, cache)
        self.kind, self.page_size = layout.KIND, layout.slots
        self.first, self.second = _bytes(first), None if second is None else _bytes(second)
        self.capacity = len(self.first) * self.page_size
        self.shuffled = bool(layout.TILE)

    def values(self, loc: int, count: int) -> Any:
        """The `count` bytes of codes, as an index of `first`."""
        import numpy as np

        page, slot = divmod(loc, self.page_size)
        dims = np.arange(count)
        if self.shuffled:
            inside = slot // 16 * 2048 + dims // 16 * 256 + slot % 16 * 16 + dims % 16
        else:
            sizes = {"FlashMLA": 576, "TwoPool": 512, "Indexer": 128, "IndexerFp4": 64}
            inside = slot * sizes[self.kind] + dims
        return page, inside

    def scales(self, loc: int) -> Any:
        """The scale's bytes as an index of `first`: 7, 14 or 4 of them."""
        page, slot = divmod(loc, self.page_size)
        if self.kind == "FlashMLA":
            start, count = self.page_size * 576 + slot * 8, 7
        elif self.kind == "TwoPool":
            start, count = 448, 14
        else:
            size = 64 if self.kind == "IndexerFp4" else 128
            start, count = self.page_size * size + slot * 4, 4
        return page, slice(start, start + count)

    def wide(self, loc: int) -> Any:
        """The bf16 dims' bytes, as a view."""
        page, slot = divmod(loc, self.page_size)
        if self.kind == "Bf16Rows":
            return self.first[loc]
        if self.kind == "TwoPool":
            assert self.second is not None
            return self.second[loc]
        return self.first[page][slot * 576 + 448 : slot * 576 + 576]


def _bytes(pool: Any) -> Any:
    """The pool's own memory as uint8 [pages, bytes], pages as far apart as they lie."""
    import numpy as np
    import torch

    step = pool.stride(0) if pool.shape[0] > 1 else pool.shape[1]
    raw = pool.view(torch.uint8) if pool.dtype != torch.uint8 else pool
    width = raw.shape[1]
    array = raw.numpy()
    return np.lib.stride_tricks.as_strided(
        array, (len(array), width), (step * pool.element_size(), 1), writeable=True
    )
