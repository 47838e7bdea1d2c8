"""core/math.cuh against float64 over its whole range, and the conversions over every input."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from typing import Any

import cpp_unit
import numpy as np
import pytest
import torch

from wavejit.testing import assert_same_bytes, inputs

EXPORTS = ("one", "two", "narrow")
EXPONENTIAL, WEIGHT, CANONICAL, MAXIMUM, MINIMUM = range(5)
SOFTPLUS, RECIPROCAL, SILU, PLAIN_SILU = range(6, 10)
INVERSE_ROOT, PLAIN_INVERSE_ROOT, ORDINARY_QUOTIENT = 10, 11, 12
CHUNK = 1 << 22
QUIET_NAN = 0x7FC00000
LEAST_NORMAL = 2.0**-126
MOST_ULP = 0.892  # of every float, measured once: 0.8913


def floats(bits: Any) -> Any:
    return torch.from_numpy(np.asarray(bits, dtype=np.uint32).view(np.float32))


def apply(device: str, function: int, *tensors: Any) -> Any:
    """The function's results as an array, computed on `device`."""
    given = [tensor.to(device) for tensor in tensors]
    out = torch.empty_like(given[0])
    module = cpp_unit.load("math_unit", device, *EXPORTS)
    (module.one if len(given) == 1 else module.two)(*given, out, function)
    return out.cpu()


def between(low: float, high: float) -> Iterator[Any]:
    """Every fp32 from low to high, both of one sign, in chunks."""
    ends = sorted(int(np.float32(value).view(np.uint32)) for value in (low, high))
    for start in range(ends[0], ends[1] + 1, CHUNK):
        yield floats(np.arange(start, min(start + CHUNK, ends[1] + 1), dtype=np.uint32))


def ulp(exact: np.ndarray) -> np.ndarray:
    """The distance of fp32 numbers at a float64 value, that of subnormals below the normal ones."""
    _, exponent = np.frexp(np.maximum(exact, LEAST_NORMAL))
    return np.ldexp(1.0, exponent - 24)


def largest_errors(device: str, x: Any) -> tuple[float, float]:
    """In ulp, where e^x is normal and where it is subnormal; overflow and underflow are checked."""
    got = apply(device, EXPONENTIAL, x).double().numpy()
    with np.errstate(over="ignore"):
        exact = np.exp(x.double().numpy())
    overflows = exact >= (2.0 - 2.0**-24) * 2.0**127
    assert (got[overflows] == np.inf).all()
    finite = ~overflows
    error = np.abs(got[finite] - exact[finite]) / ulp(exact[finite])
    normal = exact[finite] >= LEAST_NORMAL
    return error[normal].max(initial=0.0), error[~normal].max(initial=0.0)


RANGES = {
    "subnormal results": (-104.5, -87.0),
    "small results": (-87.0, -64.0),
    "large results": (64.0, 89.5),
    "above 32": (32.0, 64.0),
    "below -32": (-64.0, -32.0),
}


@pytest.mark.parametrize("name", RANGES)
def test_exponential_of_every_float(device: str, name: str) -> None:
    """At most MOST_ULP where the result is normal, 0.86 of the subnormals' distance below."""
    for x in between(*RANGES[name]):
        normal, subnormal = largest_errors(device, x)
        assert normal <= MOST_ULP
        assert subnormal <= 0.86


def test_exponential_of_many_floats(device: str) -> None:
    """Eight million from -32 to 32, and from there to zero at every exponent."""
    for seed in range(2):
        x = inputs.uniform(seed, (CHUNK,), -32.0, 32.0)
        assert largest_errors(device, x)[0] <= MOST_ULP
        scaled = np.ldexp(x.numpy(), -(np.arange(CHUNK) % 150)).astype(np.float32)
        assert largest_errors(device, torch.from_numpy(scaled))[0] <= MOST_ULP


def test_exponential_of_every_bfloat16(device: str) -> None:
    x = floats(np.arange(1 << 16, dtype=np.uint32) << 16)
    got = apply(device, EXPONENTIAL, x)
    numbers = x.isnan().logical_not()
    normal, subnormal = largest_errors(device, x[numbers])
    assert normal <= MOST_ULP
    assert subnormal <= 0.86
    assert got[~numbers].isnan().all()


def test_exponential_at_its_boundaries(device: str) -> None:
    """Against decimal arithmetic with 60 digits, a float to either side too."""
    decimal.getcontext().prec = 60
    ln2 = decimal.Decimal(2).ln()
    points = [ln2 * n for n in (-149, -150, -126, -127, 127, 128, -1, 1)]
    points += [ln2 * (n + decimal.Decimal("0.5")) for n in (-127, -3, -1, 0, 1, 126)]
    near = np.array([float(point) for point in points]).astype(np.float32)
    x = np.concatenate([np.nextafter(near, -np.inf), near, np.nextafter(near, np.inf)])
    got = apply(device, EXPONENTIAL, torch.from_numpy(x)).double().numpy()
    for value, result in zip(x.tolist(), got.tolist(), strict=True):
        exact = decimal.Decimal(value).exp()
        if exact >= decimal.Decimal((2.0 - 2.0**-24) * 2.0**127):
            assert result == np.inf
            continue
        step = decimal.Decimal(float(ulp(np.float64(exact))))
        assert abs(decimal.Decimal(result) - exact) / step <= MOST_ULP, value


def test_exponential_of_special_values(device: str) -> None:
    inf = float("inf")
    cases = [
        *((0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (88.73, inf), (3.4e38, inf)),
        *(
            (-104.0, 0.0),
            (-3.4e38, 0.0),
            (2.0**-149, 1.0),
            (-(2.0**-149), 1.0),
            (-103.9, 2.0**-149),
        ),
    ]
    x, expected = (torch.tensor(column) for column in zip(*cases))
    assert_same_bytes(apply(device, EXPONENTIAL, x), expected)
    nan = floats([QUIET_NAN, 0xFFC00000, 0x7F800001, 0xFFFFFFFF])
    assert apply(device, EXPONENTIAL, nan).isnan().all()
    least = apply(device, WEIGHT, nan)
    assert (least > 0).all() and least.max() < 2.0**-142


def test_softmax_weight(device: str) -> None:
    """e^0 is 1; the relative error is at most 3e-7 to e^-10 and 1.4e-6 to e^-87, then nearly 0."""
    for low, high, limit in ((-10.0, -1e-9, 3e-7), (-87.0, -10.0, 1.4e-6)):
        for seed in range(2):
            x = torch.cat(
                (inputs.uniform(seed, (CHUNK // 2,), low, high), torch.tensor([low, high]))
            )
            got = apply(device, WEIGHT, x).double().numpy()
            exact = np.exp(x.double().numpy())
            assert (np.abs(got / exact - 1.0)).max() <= limit
    inf, least = float("inf"), torch.finfo(torch.float32).min
    x = torch.tensor([0.0, -0.0, -(2.0**-149)])
    assert_same_bytes(apply(device, WEIGHT, x), torch.ones(3))
    x = torch.tensor([-88.8, -105.0, -1e5, -1e9, least, -inf])
    assert_same_bytes(apply(device, WEIGHT, x), apply(device, WEIGHT, x[-1:]).expand(6))
    bits = np.arange(0x42AE0000, 0x42B20000, dtype=np.uint32) | np.uint32(1 << 31)
    rising = floats(bits[::-1].copy())  # every float from -89 to -87
    weights = apply(device, WEIGHT, rising)
    exact = np.exp(rising.double().numpy())
    assert (weights.diff() >= 0).all() and (weights > 0).all()
    assert (weights.double().numpy() <= np.maximum(exact * (1 + 2e-6), 2.0**-142)).all()


# -- quotients without a branch --------------------------------------------------------------------


def fractions() -> Iterator[Any]:
    """Every fp32 from 1 to 2, and the same at other exponents from 2^-90 to 2^120.

    A scale may be FLT_MAX / 224, a little above 2^120.
    """
    for start in range(0, 1 << 23, CHUNK):
        fraction = np.arange(start, start + CHUNK, dtype=np.uint32)
        yield floats(fraction | np.uint32(127 << 23))
        yield floats(fraction | (37 + fraction % 211) << np.uint32(23))


def test_reciprocal_of_every_fraction(device: str) -> None:
    for x in fractions():
        assert_same_bytes(apply(device, RECIPROCAL, x), torch.from_numpy(np.float32(1) / x.numpy()))


def test_ordinary_quotient_by_every_fraction(device: str) -> None:
    """Every divisor from 1 to 2, by numbers beside it, at the ends and in between."""
    signs = np.uint32(1 << 31)
    for start in range(0, 1 << 23, CHUNK):
        fraction = np.arange(start, start + CHUNK, dtype=np.uint32)
        y = floats(fraction | np.uint32(127 << 23))
        mixed = fraction * np.uint32(2654435761)
        for bits in (fraction + 1, fraction - 1, ~fraction, mixed >> 9, mixed << 7):
            x = floats(bits % (1 << 23) | (47 + mixed % 208) << np.uint32(23) | mixed & signs)
            expected = torch.from_numpy(x.numpy() / y.numpy())
            assert_same_bytes(apply(device, ORDINARY_QUOTIENT, x, y), expected)


@pytest.mark.parametrize("divisor", [448, 240, 224])
def test_divided_by_of_every_fraction(device: str, divisor: int) -> None:
    for x in fractions():
        expected = torch.from_numpy(x.numpy() / np.float32(divisor))
        assert_same_bytes(apply(device, divisor, x), expected)
    ends = torch.tensor([1e-10, 1e-4, torch.finfo(torch.float32).max])
    expected = torch.from_numpy(ends.numpy() / np.float32(divisor))
    assert_same_bytes(apply(device, divisor, ends), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_shorter_silu_of_every_gate(device: str, dtype: Any) -> None:
    """All numbers of the dtype up to 64: the same bits as the plain formula, signs of zeros too."""
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype).float()
    gate = every[every.abs() <= 64]
    ones = torch.ones_like(gate)
    for up in (ones, -ones, inputs.normal(1, gate.shape, 3.0).to(dtype).float(), 0 * ones):
        expected = apply(device, SILU, gate, up)
        assert_same_bytes(apply(device, PLAIN_SILU, gate, up), expected)
        assert_same_bytes(apply("cpu", SILU, gate, up), expected)


# -- conversions -----------------------------------------------------------------------------------


def to_bfloat16(device: str, x: Any) -> Any:
    out = torch.empty(x.shape, dtype=torch.bfloat16, device=device)
    cpp_unit.load("math_unit", device, *EXPORTS).narrow(x.to(device), out)
    return out.cpu().view(torch.int16)


def torch_bfloat16(x: Any) -> Any:
    """torch's rounding, with the one quiet NaN for every NaN."""
    rounded = x.to(torch.bfloat16).view(torch.int16)
    return torch.where(x.isnan(), torch.tensor(0x7FC0, dtype=torch.int16), rounded)


def test_to_bfloat16_of_every_upper_half(device: str) -> None:
    """All 65,536 upper halves with lower halves around the tie, and random ones."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for lower in (0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = floats(upper | np.uint32(lower))
        assert_same_bytes(to_bfloat16(device, x), torch_bfloat16(x), f"lower half {lower:#x}")
    random = inputs.bits(1, 1 << 21).astype(np.uint32)
    assert_same_bytes(to_bfloat16(device, floats(random)), torch_bfloat16(floats(random)))


def test_to_bfloat16_by_hand(device: str) -> None:
    pairs = [
        *((0x3F808000, 0x3F80), (0x3F818000, 0x3F82), (0x3F808001, 0x3F81), (0x7F7FFFFF, 0x7F80)),
        *((0xFF7F7FFF, 0xFF7F), (0x00008000, 0x0000), (0x00018000, 0x0002), (0x80000001, 0x8000)),
        *((0x7F800001, 0x7FC0), (0xFFFFFFFF, 0x7FC0), (0x7F800000, 0x7F80), (0xFF800000, 0xFF80)),
    ]
    x, expected = zip(*pairs)
    got = to_bfloat16(device, floats(x))
    assert [value & 0xFFFF for value in got.tolist()] == list(expected)


def test_canonical_nan(device: str) -> None:
    x = inputs.any_float(1, (100_000,))
    expected = x.view(torch.int32).clone()
    expected[x.isnan()] = QUIET_NAN
    assert_same_bytes(apply(device, CANONICAL, x).view(torch.int32), expected)


def test_maximum_and_minimum_prefer_numbers(device: str) -> None:
    a, b = inputs.any_float(1, (200_000,)), inputs.any_float(2, (200_000,))
    for function, op in ((MAXIMUM, torch.maximum), (MINIMUM, torch.minimum)):
        got = apply(device, function, a, b)
        expected = torch.where(a.isnan(), b, torch.where(b.isnan(), a, op(a, b)))
        same = (got == expected) | (got.isnan() & expected.isnan())  # either zero of two
        assert same.all()


def test_softplus_over_its_range(device: str) -> None:
    """Every 509th float of either sign from the smallest to the largest normal result."""
    for sign in (0, 1 << 31):
        x = floats(np.arange(sign, sign + 0x7F800000, 509, dtype=np.uint64).astype(np.uint32))
        got = apply(device, SOFTPLUS, x).double().numpy()
        exact = np.logaddexp(0.0, x.double().numpy())
        normal = exact >= LEAST_NORMAL
        error = np.abs(got - exact)
        assert (error[normal] / exact[normal]).max(initial=0.0) < 4e-7
        assert error[~normal].max(initial=0.0) <= 1.5 * 2.0**-149
    special = apply(device, SOFTPLUS, torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0]))
    assert special[0] == torch.inf and special[1] == 0 and special[2].isnan()
    assert special[3] == special[4] == torch.tensor(2.0).log()


def test_inverse_square_root(device: str) -> None:
    """Of floats of every size, as numpy's root and quotient."""
    x = floats(np.random.default_rng(5).integers(0, 0x7F800001, 1 << 20, dtype=np.uint32))
    x[:3] = torch.tensor([0.0, float("inf"), 1e-45])
    with np.errstate(divide="ignore"):
        expected = np.float32(1) / np.sqrt(x.numpy())
    assert_same_bytes(apply(device, INVERSE_ROOT, x), torch.from_numpy(expected))


def test_inverse_square_root_of_every_float() -> None:
    """platform::kInverseRootProven may name an architecture only after this passed on it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    module, step = cpp_unit.load("math_unit", "cuda", *EXPORTS), 1 << 26
    for start in range(0, 0x7F800000, step):
        x = torch.arange(start, start + step, dtype=torch.int32, device="cuda").view(torch.float32)
        ours, plain = torch.empty_like(x), torch.empty_like(x)
        module.one(x, ours, INVERSE_ROOT)
        module.one(x, plain, PLAIN_INVERSE_ROOT)
        ordinary = plain == plain
        assert torch.equal(ours.view(torch.int32)[ordinary], plain.view(torch.int32)[ordinary])
        assert bool(ours[~ordinary].isnan().all())
