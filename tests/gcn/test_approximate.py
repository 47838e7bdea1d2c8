"""Instructions documented within a unit in the last place, and division made of exact steps."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from assembly import _LOAD, _STORE, ARCHES, ENTRY, ROWS, Case, assemble, check, launch
from formats import F16, F32, F64, Format, first_nan, order

from wavejit import gcn

TEXTS = {"f32": "d, a", "f16": "d, a", "f64": "dd, aa"}
NAMES = ("rcp", "rsq", "sqrt", "exp", "log")
NARROW = [f"{name}_{kind}" for kind in ("f32", "f16") for name in NAMES]
ALL = [*NARROW, "rcp_f64", "rsq_f64", "sqrt_f64"]
FORMATS = {"f32": F32, "f16": F16, "f64": F64}


def exact(name: str, value: Fraction) -> Fraction | None:
    """The function to 60 digits or as a fraction; None where it has no finite value."""
    if name == "rcp":
        return 1 / value if value else None
    if name == "exp" and abs(value) > 1100:
        return None
    if name != "exp" and (value < 0 or (value == 0 and name != "sqrt")):
        return None
    if name == "exp" and value.denominator == 1:
        return Fraction(2) ** int(value)
    if name == "log" and value.numerator & (value.numerator - 1) == 0 == value.denominator & (
        value.denominator - 1
    ):
        return Fraction(value.numerator.bit_length() - value.denominator.bit_length())
    top, bottom = math.isqrt(abs(value.numerator)), math.isqrt(value.denominator)
    if name in ("sqrt", "rsq") and Fraction(top * top, bottom * bottom) == value:
        return Fraction(top, bottom) if name == "sqrt" else Fraction(bottom, top)
    with localcontext() as context:
        context.prec = 60
        number = Decimal(value.numerator) / Decimal(value.denominator)
        if name == "exp":
            return Fraction((number * Decimal(2).ln()).exp())
        if name == "log":
            return Fraction(number.ln() / Decimal(2).ln())
        root = number.sqrt()
        return Fraction(root if name == "sqrt" else 1 / root)


def run(perturb: int, arch: str) -> dict[str, np.ndarray]:
    """Results of all the instructions over their cases' operands."""
    cases = {name: case_of(name) for name in ALL}
    bodies = {n: ENTRY + _LOAD + c.body + _STORE for n, c in cases.items()}
    machine = gcn.Machine(assemble(bodies, arch), perturb=perturb)
    found = {}
    for name, case in cases.items():
        out = found[name] = np.zeros((ROWS, 2), "u4")
        launch(machine, name, case.operands(), out, blocks=ROWS // 64)
    return found


def case_of(name: str) -> Case:
    kind = name[-3:]
    return Case(f"v_{name} {TEXTS[kind]}", lambda a: a, kind, wide=kind == "f64")


def codes(f: Format, rows: np.ndarray) -> list[int]:
    mask = (1 << f.bits) - 1
    return [int(x) & mask for x in np.ascontiguousarray(rows[:, :2]).view("u8")[:, 0]]


@pytest.mark.parametrize("arch", ARCHES)
def test_within_an_ulp_and_moved_as_asked(arch: str) -> None:
    plain, up, down = run(0, arch), run(1, arch), run(-1, arch)
    for name in ALL:
        f = FORMATS[name[-3:]]
        given = codes(f, case_of(name).operands())
        results = [codes(f, r[name]) for r in (plain, up, down)]
        checked = 0
        for a, code, above, below in zip(given, *results):
            if f.is_nan(a) or f.is_infinite(a):
                assert code == above == below
                continue
            wanted = exact(name[:-4], f.value(a))
            if wanted is None or not wanted:
                assert code == above == below, name
                continue
            assert code == f.round(wanted), (name, hex(a), hex(code))
            moves = f.value(code) != wanted if not f.is_infinite(code) else False
            moves = moves and code & ~f.sign != 0
            assert (order(f, above) - order(f, code), order(f, below) - order(f, code)) == (
                (1, -1) if moves else (0, 0)
            ), (name, hex(a), hex(code))
            checked += 1
        assert checked > 100, name


def quotient(f: Format, a: int, b: int) -> int:
    """a / b, rounded once; the invalid ones give the NaN with a sign that division makes."""
    if (nan := first_nan(f, a, b)) is not None:
        return nan
    sign, size_a, size_b = (a ^ b) & f.sign, a & ~f.sign, b & ~f.sign
    if (size_a == 0 and size_b == 0) or (f.is_infinite(a) and f.is_infinite(b)):
        return f.nan | f.sign
    if f.is_infinite(a) or size_b == 0:
        return sign | f.infinity
    if f.is_infinite(b):
        return sign
    return f.round(f.value(a) / f.value(b), sign)


def division(kind: str, pair: str) -> str:
    """a / b as compilers expand it, with 12 onward as temporaries."""

    def reg(i: int) -> str:
        return f"v[{12 + 2 * i}:{13 + 2 * i}]" if kind == "f64" else f"v{12 + 2 * i}"

    a, b, d = "a" * pair.count("x"), "b" * pair.count("x"), "d" * pair.count("x")
    den, num, r, e, q, s = (reg(i) for i in (0, 1, 2, 3, 4, 6))
    steps = [
        f"v_div_scale_{kind} {den}, s[8:9], {b}, {b}, {a}",
        f"v_div_scale_{kind} {num}, vcc, {a}, {b}, {a}",
        f"v_rcp_{kind} {r}, {den}",
        f"v_fma_{kind} {e}, -{den}, {r}, 1.0",
        f"v_fma_{kind} {r}, {e}, {r}, {r}",
    ]
    if kind == "f64":
        steps += [f"v_fma_{kind} {e}, -{den}, {r}, 1.0", f"v_fma_{kind} {r}, {r}, {e}, {r}"]
    steps.append(f"v_mul_{kind} {q}, {num}, {r}")
    if kind == "f32":
        steps += [f"v_fma_{kind} {s}, -{den}, {q}, {num}", f"v_fma_{kind} {q}, {s}, {r}, {q}"]
    steps += [
        f"v_fma_{kind} {s}, -{den}, {q}, {num}",
        f"v_div_fmas_{kind} {q}, {s}, {r}, {q}",
        f"v_div_fixup_{kind} {d}, {q}, {b}, {a}",
    ]
    return "\n".join(steps)


def dividends(f: Format, seed: int) -> Case:
    pair = "xx" if f is F64 else "x"
    return Case(
        division(f"f{f.bits}", pair),
        lambda a, b: quotient(f, a, b),
        f"f{f.bits}",
        wide=f is F64,
        seed=seed,
    )


@pytest.mark.parametrize("arch", ARCHES)
def test_division_is_rounded_once(arch: str) -> None:
    """div_scale, rcp, fma steps, div_fmas and div_fixup: every range of operands."""
    check([dividends(f, seed) for f in (F32, F64) for seed in range(1, 5)], arch)


def test_the_references_functions() -> None:
    assert exact("rcp", Fraction(4)) == Fraction(1, 4)
    assert exact("sqrt", Fraction(9)) == 3
    assert F32.round(exact("exp", Fraction(3)) or Fraction(0)) == F32.round(Fraction(8))
    assert F64.round(exact("log", Fraction(10)) or Fraction(0)) == F64.round(
        Fraction(math.log2(10))
    )
