"""num/: fp8 in both flavours, fp4 and UE8M0 against their definitions, over all that matters.

The references know only the formats: a table of the values of all codes, and the nearest of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cpp_unit
import numpy as np
import pytest
import torch

from wavejit.testing import assert_same_bytes, inputs

EXPORTS = ("encode", "decode", "compare")
NAN = 0x7FC00000
# variant of the unit -> flavour, largest magnitude, what a NaN becomes
ENCODERS = {
    "fn": (0, "fn", 448, 0x7E),
    "fn, NaN kept": (1, "fn", 448, 0x7F),
    "fnuz": (2, "fnuz", 240, 0x7F),
    "fnuz, NaN kept": (3, "fnuz", 240, 0x80),
    "fnuz of 224": (4, "fnuz", 224, 0x7E),
    "fnuz of 224, NaN kept": (5, "fnuz", 224, 0x80),
    "fn by fours": (6, "fn", 448, 0x7E),
    "fnuz by fours": (7, "fnuz", 240, 0x7F),
}
TORCH = {"fn": torch.float8_e4m3fn, "fnuz": torch.float8_e4m3fnuz}
SWEEP_LANES = 1 << 16


def floats(bits: Any) -> Any:
    return torch.from_numpy(np.asarray(bits, dtype=np.uint32).view(np.float32).copy())


def run(device: str, name: str, given: Any, out: Any, variant: int) -> Any:
    module = cpp_unit.load("fp8_unit", device, *EXPORTS)
    result = out.to(device)
    getattr(module, name)(given.to(device), result, variant)
    return result.cpu()


def encode(device: str, x: Any, variant: int) -> Any:
    return run(device, "encode", x, torch.empty(x.shape, dtype=torch.uint8), variant)


def decode(device: str, codes: Any, variant: int) -> Any:
    return run(device, "decode", codes, torch.empty(codes.shape), variant)


# -- the definition --------------------------------------------------------------------------------


@cache
def values_of(flavour: str) -> np.ndarray:
    """The float64 value of each of the 256 codes; NaN where there is none."""
    bias = {"fn": 7, "fnuz": 8}[flavour]
    values = np.empty(256)
    for code in range(256):
        exponent, fraction = code >> 3 & 15, code & 7
        size = (8 + fraction if exponent else fraction) * 2.0 ** (max(exponent, 1) - bias - 3)
        values[code] = -size if code & 0x80 else size
    values[{"fn": [0x7F, 0xFF], "fnuz": [0x80]}[flavour]] = np.nan
    return values


def nearest(x: np.ndarray, flavour: str, largest: int, nan: int) -> np.ndarray:
    """The codes by search: the nearer magnitude, and of two that are as near the even one."""
    magnitudes = values_of(flavour)[:128]
    magnitudes = magnitudes[magnitudes <= largest]
    size = np.minimum(np.abs(np.where(np.isnan(x), np.float32(0), x).astype(np.float64)), largest)
    above = np.minimum(np.searchsorted(magnitudes, size), len(magnitudes) - 1)
    below = np.maximum(above - 1, 0)
    up, down = magnitudes[above] - size, size - magnitudes[below]
    code = np.where(up < down, above, np.where(down < up, below, np.where(above & 1, below, above)))
    signed = np.signbit(x) & ((code > 0) | (flavour == "fn"))
    code = np.where(signed, code | 0x80, code)
    return np.where(np.isnan(x), nan, code).astype(np.uint8)


@cache
def critical(flavour: str) -> np.ndarray:
    """Every value, every midpoint, what lies beside them, both signs, and what is no number."""
    finite = values_of(flavour)[:128]
    finite = finite[np.isfinite(finite)]
    points = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2, [464.0, 480.0, 248.0, 256.0]])
    points = points.astype(np.float32)
    near = [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, -np.float32(1))]
    special = [0, 1, 0x007FFFFF, 0x00800000, 0x00800001, 0x7F7FFFFF, 0x7F800000, 0x7F800001]
    special += [0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF]
    x = np.concatenate([*near, np.array(special, dtype=np.uint32).view(np.float32)])
    x = x.view(np.uint32)
    return np.concatenate([x, x | np.uint32(0x80000000)]).view(np.float32)


def all_inputs(flavour: str) -> np.ndarray:
    """What `critical` has, all bf16 patterns, and random bits."""
    bf16 = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    random = inputs.any_float(7, (1 << 18,)).numpy()
    around = np.ldexp(
        inputs.uniform(8, (1 << 18,), -1.0, 1.0).numpy(), np.arange(1 << 18) % 24 - 14
    )
    return np.concatenate([critical(flavour), bf16, random, around.astype(np.float32)])


# -- encode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_no_wrong_byte(device: str, name: str) -> None:
    variant, flavour, largest, nan = ENCODERS[name]
    x = all_inputs(flavour)
    expected = nearest(x, flavour, largest, nan)
    assert_same_bytes(encode(device, torch.from_numpy(x), variant), torch.from_numpy(expected))


@pytest.mark.parametrize("flavour, variant", [("fn", 0), ("fnuz", 2)])
def test_as_torch_casts(device: str, flavour: str, variant: int) -> None:
    """Inside the range, where torch saturates nothing."""
    x = torch.from_numpy(all_inputs(flavour))
    x = x[x.abs() <= {"fn": 448, "fnuz": 240}[flavour]]
    assert_same_bytes(encode(device, x, variant), x.to(TORCH[flavour]).view(torch.uint8))


@pytest.mark.parametrize("flavour, variant", [("fn", 0), ("fnuz", 2)])
def test_as_ml_dtypes_casts(device: str, flavour: str, variant: int) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = all_inputs(flavour)
    x = x[np.abs(x) <= {"fn": 448, "fnuz": 240}[flavour]]
    expected = x.astype(getattr(ml_dtypes, f"float8_e4m3{flavour}")).view(np.uint8)
    assert_same_bytes(encode(device, torch.from_numpy(x), variant), torch.from_numpy(expected))


GOLDEN = {
    "fn": (
        *((0, 0x00), (2**-10, 0x00), (2**-9, 0x01), (1.5 * 2**-9, 0x02), (2**-6, 0x08), (1, 0x38)),
        *((1.0625, 0x38), (1.1875, 0x3A), (1.25, 0x3A), (240, 0x77), (248, 0x78), (256, 0x78)),
        *((264, 0x78), (288, 0x79), (320, 0x7A), (352, 0x7B), (384, 0x7C), (416, 0x7D)),
        *((447, 0x7E), (448, 0x7E), (464, 0x7E), (1000, 0x7E), (0.0146484375, 0x08)),
        *((0.00146484375, 0x01), (-1, 0xB8), (-(2**-11), 0x80), (-0.0, 0x80)),
    ),
    "fnuz": (
        *((0, 0x00), (-0.0, 0x00), (2**-11, 0x00), (2**-10, 0x01), (1.5 * 2**-10, 0x02)),
        *((2**-7, 0x08), (1, 0x40), (1.0625, 0x40), (1.1875, 0x42), (1.25, 0x42), (112, 0x76)),
        *((120, 0x77), (124, 0x78), (128, 0x78), (136, 0x78), (144, 0x79), (160, 0x7A)),
        *((192, 0x7C), (208, 0x7D), (224, 0x7E), (232, 0x7E), (240, 0x7F), (248, 0x7F)),
        *((448, 0x7F), (-1, 0xC0), (-(2**-11), 0x00), (-(2**-12), 0x00)),
    ),
}


@pytest.mark.parametrize("flavour, variant", [("fn", 0), ("fn", 6), ("fnuz", 2), ("fnuz", 7)])
def test_bytes_by_hand(device: str, flavour: str, variant: int) -> None:
    x, expected = zip(*GOLDEN[flavour])
    assert encode(device, torch.tensor(x), variant).tolist() == list(expected)


def test_the_option_224_by_hand(device: str) -> None:
    x = torch.tensor([216.0, 223.9, 224.0, 232.1, 240.0, 1e30, float("inf"), -224.0, -float("inf")])
    assert encode(device, x, 4).tolist() == [0x7E, *[0x7E] * 6, 0xFE, 0xFE]


# -- decode ----------------------------------------------------------------------------------------

EVERY = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("flavour, variant", [("fn", 0), ("fnuz", 1), ("fn", 2), ("fnuz", 3)])
def test_values_of_all_codes(device: str, flavour: str, variant: int) -> None:
    got = decode(device, EVERY, variant)
    expected = torch.from_numpy(values_of(flavour)).float()
    expected[expected.isnan()] = floats([NAN])[0]
    assert_same_bytes(got, expected)
    assert_same_bytes(got, canonical(EVERY.view(TORCH[flavour]).float()))


def canonical(x: Any) -> Any:
    return torch.where(x.isnan(), floats([NAN])[0], x)


@pytest.mark.parametrize("flavour, variants", [("fn", (1, 0)), ("fnuz", (3, 1))])
def test_every_code_comes_back(device: str, flavour: str, variants: tuple[int, int]) -> None:
    """With NaN kept; FN's second NaN becomes the first."""
    codes = encode(device, decode(device, EVERY, variants[1]), variants[0])
    expected = EVERY.clone()
    if flavour == "fn":
        expected[0xFF] = 0x7F
    assert_same_bytes(codes, expected)


# -- the machine's own instruction -----------------------------------------------------------------


def differences(device: str, variant: int, first: int, count: int, step: int = 1) -> int | None:
    """Of two ways of one conversion over `count` bit patterns; None: this machine has only one."""
    wrong = torch.zeros(SWEEP_LANES, dtype=torch.int32, device=device)
    cpp_unit.load("fp8_unit", device, *EXPORTS).compare(wrong, first, count, step, variant)
    return None if int(wrong.min()) == -1 else int(wrong.sum())


@pytest.mark.parametrize("variant, count", [(0, 1 << 32), (1, 1 << 32), (2, 1 << 16)])
def test_the_instruction_over_every_input(variant: int, count: int) -> None:
    """platform::kFp8InstructionProven may name an architecture only after this passed on it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    found = differences("cuda", variant, 0, count)
    if found is None:
        pytest.skip("this GPU has no fp8 instruction")
    assert found == 0


def test_the_bf16_instruction_over_every_input() -> None:
    """platform::kBf16InstructionProven may name an architecture only after this passed on it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    assert differences("cuda", 7, 0, 1 << 32) == 0


@pytest.mark.parametrize("flavour, variant", [("fn", 0), ("fnuz", 2)])
def test_every_float_as_torch_casts(flavour: str, variant: int) -> None:
    """All 2^32 of them, saturated before torch sees them."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    chunk, largest = 1 << 26, {"fn": 448.0, "fnuz": 240.0}[flavour]
    module = cpp_unit.load("fp8_unit", "cuda", *EXPORTS)
    codes = torch.empty(chunk, dtype=torch.uint8, device="cuda")
    for first in range(-(1 << 31), 1 << 31, chunk):
        bits = torch.arange(first, first + chunk, dtype=torch.int64, device="cuda")
        x = bits.to(torch.int32).view(torch.float32)
        module.encode(x, codes, variant)
        kept = torch.where(x.isnan(), largest, x.clamp(-largest, largest))
        assert bool((codes == kept.to(TORCH[flavour]).view(torch.uint8)).all()), hex(first)


@pytest.mark.parametrize("variant", [10, 11, 12, 13])
def test_codes_of_every_bfloat16(device: str, variant: int) -> None:
    """From pairs, with every scale on a GPU, with every 61st pair of the two on the CPU."""
    count, step = 254 << 16, 1 if device == "cuda" else 61
    assert differences(device, variant, 0, count // step, step) == 0


def test_largest_of_every_pair(device: str) -> None:
    """All pairs of bf16 on a GPU, every 60013th on the CPU."""
    step = 1 if device == "cuda" else 60013
    assert differences(device, 14, 0, (1 << 32) // step, step) == 0


# -- scales ----------------------------------------------------------------------------------------


def test_scale_exponents(device: str) -> None:
    one = np.float32(1)
    pairs = [
        *((1.0, 127), (np.nextafter(one, np.float32(2)), 128), (2.0, 128), (3.0, 129), (4.0, 129)),
        *((1e-4 / 448, 105), (1e-4 / 240, 106), (1e-4 / 224, 106), (1e-4 / 6, 112)),
        *((1e-8 / 448, 92), (1e-8 / 240, 93), (1e-10 / 448, 85), (2.0**-126, 1)),
        *((3.4e38, 255), (2.0**-127, 1)),
    ]
    x, expected = zip(*pairs)
    assert encode(device, torch.tensor(x), 9).tolist() == list(expected)


def test_scale_values(device: str) -> None:
    got = decode(device, EVERY, 5).double().numpy()
    assert (got[:255] == 2.0 ** (np.arange(255) - 127.0)).all()
    assert got[255] == np.inf
    inverse = decode(device, EVERY, 6).double().numpy()
    assert (inverse[:254] == 2.0 ** (127.0 - np.arange(254))).all()


MAXIMA = {10: 448, 11: 240, 12: 224, 13: 6}


@pytest.mark.parametrize("variant", MAXIMA)
def test_scale_without_a_division(device: str, variant: int) -> None:
    """By hand, and around every power of two that the quotient may reach."""
    largest = MAXIMA[variant]
    powers = 2.0 ** np.arange(-34.0, 118.0)
    exact = (largest * powers).astype(np.float32)
    for x, more in (
        (exact, 0),
        (np.nextafter(exact, np.float32(0)), 0),
        (np.nextafter(exact, np.float32(np.inf)), None),
    ):
        got = encode(device, torch.from_numpy(x), variant).numpy()
        quotient = x / np.float32(largest)
        fraction, exponent = np.frexp(quotient)
        wanted = exponent + 127 - (fraction == 0.5)
        assert (got == wanted).all()
        if more is not None:
            assert (got == np.log2(powers) + 127 + more).all()
    infinite = torch.tensor([float("inf"), float(np.finfo(np.float32).max)])
    top = int(np.ceil(np.log2(float(np.finfo(np.float32).max) / largest))) + 127
    assert encode(device, infinite, variant).tolist() == [253, top]


@pytest.mark.parametrize("variant", [3, 4, 5, 6])
def test_scale_without_a_division_over_many(device: str, variant: int) -> None:
    """Every fraction on a GPU, at every exponent; every 61st of two exponents on the CPU."""
    first, last = 0x0E000000, 0x7F800000
    if device == "cuda":
        assert differences(device, variant, first, last - first) == 0
    else:
        assert differences(device, variant, 0x3F800000, (1 << 24) // 61, 61) == 0
        assert differences(device, variant, first, (last - first) // 8191, 8191) == 0


# -- fp4 -------------------------------------------------------------------------------------------

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def nearest_lower(value: float) -> int:
    """By the definition: the nearest magnitude, of two the lower; a zero has no sign."""
    size = min(abs(value), 6.0)
    code = min(range(8), key=lambda i: (abs(FP4[i] - size), FP4[i]))
    return code | 8 if code and value < 0 else code


def test_fp4(device: str) -> None:
    middles = (np.array(FP4[1:]) + np.array(FP4[:-1])) / 2
    points = np.concatenate([FP4, middles, [1e30, 2.0**-149, np.inf]]).astype(np.float32)
    points = np.concatenate(
        [points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-1))]
    )
    x = np.concatenate([points, -points, inputs.normal(3, (5000,), 2.5).numpy()])
    got = encode(device, torch.from_numpy(x), 8).tolist()
    assert got == [nearest_lower(float(value)) for value in x]
    assert encode(device, floats([NAN, 0xFFC00000, 0x7F800001]), 8).tolist() == [7, 7, 7]


def test_fp4_of_every_bfloat16(device: str) -> None:
    """The shorter way with every scale on a GPU, with every 61st pair of the two on the CPU."""
    count, step = 254 << 16, 1 if device == "cuda" else 61
    assert differences(device, 9, 0, count // step, step) == 0


def test_fp4_over_all_inputs(device: str) -> None:
    """Every float on a GPU; every 60013th on the CPU."""
    step = 1 if device == "cuda" else 60013
    assert differences(device, 8, 0, (1 << 32) // step, step) == 0


def test_fp4_values(device: str) -> None:
    got = decode(device, torch.arange(16, dtype=torch.uint8), 4)
    expected = torch.tensor([*FP4, *(-value for value in FP4)])
    assert_same_bytes(got, expected)
