"""docs/layouts.md, from the layouts' own values: `python -m wavejit.layout_tables` prints it."""

from __future__ import annotations

import textwrap

from wavejit.layouts import MAXIMA, Bf16Rows, FlashMLA, Indexer, IndexerFp4, Layout, TwoPool

PAGE_SIZES = (1, 2, 16, 32, 64, 100, 128, 256)
_INTRODUCTION = """\
# Cache layouts

Printed by `python -m wavejit.layout_tables`; a test compares.

A layout (`wavejit.layouts`) is a frozen value that says where each byte of a KV cache lies: its
page size, its flavour of e4m3 and how a store quantises. Python checks tensors by it, the kernels
get their constants from it (`include/wavejit/cache/layout.cuh` computes every address, in 64
bits), and these tables are printed from it. A flavour is a property of the cache, not of who
reads it: any architecture writes and reads either one, and `convert_cache` rewrites one as the
other. Left open, it is that of the device: fnuz on gfx942, fn elsewhere.

Slot `s` of page `p` is location `p * page size + s`. Bytes that no field has, and slots that
nobody stored, are never written.
"""
_RULES = """\
## How a store quantises

A group's magnitude `amax` leaves NaN out and is at least `amax_floor`. `max` is the flavour's
largest magnitude, or `fp8_max` where it is given.

| option | values | meaning |
| --- | --- | --- |
{options}

UE8M0 (latent, groups of 64; fp4, groups of 32): the byte e is the least with
2^(e-127) >= amax / max, at most 253, and a code is that of x * 2^(127-e). fp32 (fp8 indexer,
groups of 128): the scale is amax / max, and a code that of x * (1 / scale). Codes are the nearest,
ties to even, saturating; of infinities those of `max`.

fp4 (e2m1): the codes 0 to 7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6, bit 3 is the sign, `max` is 6. Of two
codes as near the lower magnitude is taken; what becomes 0 loses its sign; a NaN becomes +6. The
keys are quantised from fp32, as those in fp8 are; the fp4 queries of
`q_indexer_rope_hadamard_quant` are rounded to bf16 before.

## From one flavour to the other

The same byte means twice as much in fn as in fnuz, so `convert_cache` keeps a group's codes and
doubles or halves its scale: every value stays what it was, but NaN codes are mapped and fn's -0
becomes 0. Two cases keep the scale and round each value to the nearest code instead: a group of
fnuz with a code of 240 (twice that is beyond fn's 448), where odd multiples of 2^-10 of the scale
below 2^-6 lose their last bit, and scales that cannot be doubled or halved. `Bf16Rows` and
`IndexerFp4` have no e4m3, so there is nothing to convert.

## What is left for later layouts

A layout is a class with its sizes and its fields; a new one (other splits of fp8 and bf16 dims)
is a class here and, where it has other groups or fields, a `LayoutKind` there.
"""


def page() -> str:
    """docs/layouts.md."""
    keys = (Indexer(64), Indexer(64, preshuffled=True), IndexerFp4(64))
    sections = [_section(layout) for layout in (FlashMLA(64), Bf16Rows(), TwoPool(), *keys)]
    return "\n".join([_INTRODUCTION, *sections, _sizes(), _RULES.format(options=_options())])


def _section(layout: Layout) -> str:
    shuffled = ", pre-shuffled" if layout.TILE else ""
    pages = f", pages of {layout.slots} slots" if layout.slots > 1 else ""
    documented = textwrap.fill(" ".join((type(layout).__doc__ or "").split()), 98)
    lines = [f"## {layout.KIND}{shuffled}{pages}", ""]
    if not layout.TILE:
        lines += [documented, ""]
    lines += ["| field | bytes | at, for slot s | what |", "| --- | --- | --- | --- |"]
    lines += [f"| {p.name} | {p.size} | {_place(layout, p)} | {p.what} |" for p in layout.parts]
    return "\n".join([*lines, ""])


def _place(layout: Layout, part: object) -> str:
    area, stride, pool = (getattr(part, name) for name in ("area", "stride", "pool"))
    if layout.TILE and area == 0:
        return "see right"
    where = f"second pool: {stride} * row" if pool else f"{area} + {stride} * s"
    if layout.ROW_SIZE and not pool:
        where = f"{stride} * row + {area}" if area else f"{stride} * row"
    return where.removeprefix("0 + ")


def _sizes() -> str:
    kinds = (FlashMLA, Indexer, IndexerFp4)
    names = " | ".join(kind.KIND for kind in kinds)
    lines = [
        "## Bytes of a page",
        "",
        f"| page size | {names} |",
        f"| --- {'| --- ' * len(kinds)}|",
    ]
    for n in PAGE_SIZES:
        lines.append(f"| {n} | {' | '.join(str(kind(n).page_bytes) for kind in kinds)} |")
    return "\n".join([*lines, ""])


def _options() -> str:
    from wavejit.layouts import AMAX_FLOORS

    maxima = "; ".join(f"{name} {', '.join(map(str, tops))}" for name, tops in MAXIMA.items())
    floors = ", ".join(f"{floor:.0e}" for floor in AMAX_FLOORS)
    rows = (
        ("flavour", ", ".join(MAXIMA), "which e4m3 the bytes are"),
        ("fp8_max", maxima, "what amax is divided by; the first is the default"),
        ("amax_floor", floors, "the least magnitude that a group is scaled for"),
        ("nan", "max, code", "a NaN becomes +max, or the flavour's NaN (0x7f, 0x80)"),
    )
    return "\n".join(f"| `{name}` | {values} | {what} |" for name, values, what in rows)


if __name__ == "__main__":
    print(page(), end="")
