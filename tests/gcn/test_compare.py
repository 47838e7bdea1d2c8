"""Compares of all types, with EXEC, classes and masks, against Python's comparisons."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from assembly import ARCHES, MASK, Case, check
from formats import F16, F32, F64, Format

INTEGERS: dict[str, Callable[[int, int], bool]] = {
    "f": lambda _a, _b: False,
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "t": lambda _a, _b: True,
}
# what a float compare gives for less, equal, greater, unordered
FLOATS = {
    "f": "....",
    "lt": "l...",
    "eq": ".e..",
    "le": "le..",
    "gt": "..g.",
    "lg": "l.g.",
    "ge": ".eg.",
    "o": "leg.",
    "u": "...u",
    "nge": "l..u",
    "nlg": ".e.u",
    "ngt": "le.u",
    "nle": "..gu",
    "neq": "l.gu",
    "nlt": ".egu",
    "tru": "legu",
}
END = "\nv_cndmask_b32 d, 0, 1, vcc"


def signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def relation(f: Format, a: int, b: int) -> str:
    if f.is_nan(a) or f.is_nan(b):
        return "u"

    def place(code: int) -> int:  # both zeros are one
        return -(code & ~f.sign) if code & f.sign else code

    return "e" if place(a) == place(b) else "l" if place(a) < place(b) else "g"


def operands(bits: int) -> str:
    return "aa, bb" if bits == 64 else "a, b"


def integers(kind: str, bits: int) -> list[Case]:
    def value(x: int) -> int:
        return signed(x, bits) if kind == "i" else x & ((1 << bits) - 1)

    return [
        Case(
            f"v_cmp_{name}_{kind}{bits} vcc, {operands(bits)}{END}",
            lambda a, b, is_so=is_so: (is_so(value(a), value(b)), 0x33334444),
            "i64" if bits == 64 else "i32",
        )
        for name, is_so in INTEGERS.items()
    ]


def floats(f: Format) -> list[Case]:
    mask = (1 << f.bits) - 1
    kind = f"f{f.bits}"
    return [
        Case(
            f"v_cmp_{name}_{kind} vcc, {operands(f.bits)}{END}",
            lambda a, b, when=when: (relation(f, a & mask, b & mask) in when, 0x33334444),
            kind,
        )
        for name, when in FLOATS.items()
    ]


def class_of(f: Format, a: int) -> int:
    """The bit that v_cmp_class tests: NaN, then from -infinity to +infinity."""
    if f.is_nan(a):
        return 0 if f.is_signalling(a) else 1
    size = a & ~f.sign
    rank = 0 if size == 0 else 1 if f.is_subnormal(a) else 3 if f.is_infinite(a) else 2
    return 5 - rank if a & f.sign else 6 + rank


def classes(f: Format) -> list[Case]:
    kind, first = f"f{f.bits}", "aa" if f is F64 else "a"
    mask = (1 << f.bits) - 1
    return [
        Case(
            f"v_mov_b32 v12, {1 << bit:#x}\nv_cmp_class_{kind} vcc, {first}, v12{END}",
            lambda a, bit=bit: (class_of(f, a & mask) == bit, 0x33334444),
            kind,
        )
        for bit in range(10)
    ]


def exec_lanes(rows: list[list[int]]) -> list[int]:
    return [7 if row[0] > row[1] else 0x11112222 for row in rows]


def mask_of(rows: list[list[int]]) -> list[tuple[int, int]]:
    bits = sum((row[0] > row[1]) << i for i, row in enumerate(rows))
    return [(bits & MASK, bits >> 32)] * 64


OTHERS = [
    Case("v_cmpx_gt_u32 exec, a, b\nv_mov_b32 d, 7\ns_mov_b64 exec, -1", exec_lanes, wave=True),
    Case("v_cmp_gt_u32 s[8:9], a, b\nv_mov_b32 d, s8\nv_mov_b32 dh, s9", mask_of, wave=True),
    Case(
        # lanes that are off give 0 in the mask
        "s_mov_b64 exec, 0xff\nv_cmp_eq_u32 vcc, a, a\ns_mov_b64 exec, -1\n"
        "v_mov_b32 d, vcc_lo\nv_mov_b32 dh, vcc_hi",
        lambda _: (0xFF, 0),
    ),
    Case(
        "v_cmp_lt_f32 vcc, |a|, -b" + END,
        lambda a, b: relation(F32, a & ~F32.sign, b ^ F32.sign) == "l",
        "f32",
    ),
    Case("v_cmp_gt_u32 vcc, a, b\nv_cndmask_b32 d, a, b, vcc", lambda a, b: min(a, b)),
    Case(
        "v_cmp_gt_u32 s[10:11], a, b\nv_cndmask_b32 d, -a, |b|, s[10:11]",
        lambda a, b: b & ~F32.sign if a > b else a ^ F32.sign,
        "f32",
    ),
    Case("v_mov_b32 v12, a\nv_cmp_eq_u32 vcc, a, v12" + END, lambda _: True),
]
GROUPS = {
    "integers": [c for kind in "ui" for bits in (16, 32, 64) for c in integers(kind, bits)],
    "floats": [c for f in (F16, F32, F64) for c in (*floats(f), *classes(f))],
    "others": OTHERS,
}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_compares(group: str, arch: str) -> None:
    check(GROUPS[group], arch)
