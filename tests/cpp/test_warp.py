"""core/warp.cuh and core/block.cuh: every width and block size, every lane's result, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cpp_unit
import numpy as np
import pytest
import torch

from wavejit.bind import arch_of
from wavejit.jit import arch as archs
from wavejit.testing import inputs

EXPORTS = ("groups", "waves", "leave", "scan")
BLOCKS = (32, 64, 96, 128, 256, 1024)
UNWRITTEN = -123456789
Op = Callable[[Any, Any], Any]
Row = tuple[str, np.ndarray]


def combine_bits(values: np.ndarray, low: int, high: int, op: Op) -> np.ndarray:
    """Lane i gets all lanes that differ from it only in the bits from log2 low to log2 high."""
    lanes = np.arange(values.shape[-1])
    fixed = lanes & ~(high - 1 & ~(low - 1))
    result = np.empty_like(values)
    for key in np.unique(fixed):
        members = values[..., fixed == key]
        total = members[..., 0]
        for k in range(1, members.shape[-1]):
            total = op(total, members[..., k])
        result[..., fixed == key] = total[..., None]
    return result


def butterfly(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """fp32 sums in warp.cuh's order: offsets first/2, ..., last or first, ..., last/2."""
    high, low = max(first, last), min(first, last)
    offsets = [1 << k for k in range(low.bit_length() - 1, high.bit_length() - 1)]
    for offset in reversed(offsets) if first > last else offsets:
        values = values + values[..., np.arange(values.shape[-1]) ^ offset]
    return values


def running(values: np.ndarray, width: int, op: Op) -> np.ndarray:
    result = values.copy()
    for lane in range(values.shape[-1]):
        if lane % width:
            result[..., lane] = op(result[..., lane - 1], values[..., lane])
    return result


def doubling_sums(values: np.ndarray, width: int) -> np.ndarray:
    """fp32 inclusive sums by doubling: in a step, lane i adds what i - offset had."""
    lanes = np.arange(values.shape[-1])
    offset = 1
    while offset < width:
        before = values[..., np.maximum(lanes - offset, 0)]
        values = np.where(lanes % width >= offset, before + values, values)
        offset *= 2
    return values


def expected_rows(ints: np.ndarray, floats: np.ndarray, most: int, source: int) -> Iterator[Row]:
    """The unit's rows in its order, with names; arrays are [groups of `most` lanes, most]."""
    unsigned = ints.view(np.uint32)
    powers = [1 << k for k in range(most.bit_length())]
    for first in powers:
        for last in powers:
            low, high, name = min(first, last), max(first, last), f"<{first}, {last}>"
            yield f"int sum{name}", combine_bits(ints, low, high, np.add)
            yield f"uint max{name}", combine_bits(unsigned, low, high, np.maximum).view(np.int32)
            yield f"int min{name}", combine_bits(ints, low, high, np.minimum)
            yield f"float sum{name}", butterfly(np.nan_to_num(floats), first, last)
            yield f"float max{name}", combine_bits(floats, low, high, np.fmax)
            yield f"float min{name}", combine_bits(floats, low, high, np.fmin)
    lanes = np.arange(most)
    yes = ints % 3 == 0
    for width in powers:
        name = f"<{width}>"
        start = lanes - lanes % width
        yield f"int scan{name}", running(ints, width, np.add)
        yield f"int max scan{name}", running(ints, width, np.maximum)
        yield f"broadcast{name}", ints[..., start + source % width]
        counted = running(yes.astype(np.int32), width, np.add)
        yield f"count{name}", counted[..., start + width - 1]
        yield f"count below{name}", counted - yes
        yield f"lane in group{name}", np.broadcast_to(lanes % width, ints.shape).astype(np.int32)
        wide = ints.astype(np.int64) * 0x100000003
        yield f"int64 scan{name}", (running(wide, width, np.add) >> 32).astype(np.int32)
        yield f"int64 broadcast{name}", wide[..., start + source % width].astype(np.int32)
        total = running(wide, width, np.add)[..., start + width - 1]
        yield f"int64 sum{name}", (total >> 32).astype(np.int32)
        yield f"float scan{name}", doubling_sums(np.nan_to_num(floats), width)
        yield f"float max scan{name}", running(floats, width, np.fmax)


def run(device: str, function: str, block: int, blocks: int, source: int, nan: bool) -> Any:
    """The unit's results [rows, lanes] and its inputs, as numpy arrays."""
    module = cpp_unit.load("warp_unit", device, *EXPORTS)
    lanes = block * blocks
    ints = inputs.integers(block, (lanes,), -(1 << 20), 1 << 20, torch.int32)
    floats = inputs.normal(block + 1, (lanes,), 8.0)
    if nan:
        floats[inputs.integers(3, (lanes // 3,), 0, lanes)] = float("nan")
    out_ints = torch.full((400, lanes), UNWRITTEN, dtype=torch.int32, device=device)
    out_floats = torch.full((400, lanes), float(UNWRITTEN), device=device)
    getattr(module, function)(
        ints.to(device), floats.to(device), out_ints, out_floats, block, source
    )
    return out_ints.cpu().numpy(), out_floats.cpu().numpy(), ints.numpy(), floats.numpy()


def check(
    device: str, function: str, block: int, blocks: int, most: int, *, source: int, nan: bool
) -> None:
    out_ints, out_floats, ints, floats = run(device, function, block, blocks, source, nan)
    got = {np.dtype(np.int32): iter(out_ints), np.dtype(np.float32): iter(out_floats)}
    stays = np.ones(len(ints), dtype=bool)
    if function == "leave":
        stays = np.arange(len(ints)) % block // 32 % 2 == 0
    grouped = ints.reshape(-1, most), floats.reshape(-1, most)
    with np.errstate(invalid="ignore"):
        for name, row in expected_rows(*grouped, most, source):
            found = next(got[row.dtype])
            if nan and name.startswith(("float sum", "float scan")):
                continue  # sums take NaN along; the runs without say the rest
            expected = np.where(stays, row.reshape(-1), row.dtype.type(UNWRITTEN))
            np.testing.assert_array_equal(found, expected, err_msg=name)
    for rest in got.values():
        assert (next(rest) == UNWRITTEN).all()


def wave_of(device: str) -> int:
    return archs.load(arch_of(torch.empty(0, device=device))).wave_size


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("block", BLOCKS)
def test_groups_of_32(device: str, block: int, nan: bool) -> None:
    check(device, "groups", block, 3, 32, source=block // 5 + 3, nan=nan)


@pytest.mark.parametrize("groups", range(1, 9))
def test_any_number_of_groups_in_a_block(device: str, groups: int) -> None:
    """Odd numbers leave half a wave of 64 without lanes."""
    check(device, "groups", 32 * groups, 2, 32, source=groups, nan=False)


@pytest.mark.parametrize("block", [64, 128, 1024])
def test_groups_up_to_the_wave(device: str, block: int) -> None:
    check(device, "waves", block, 2, wave_of(device), source=45, nan=False)


@pytest.mark.parametrize("block", BLOCKS)
def test_odd_groups_leave_first(device: str, block: int) -> None:
    check(device, "leave", block, 2, 32, source=17, nan=False)


@pytest.mark.parametrize("block", [32, 64, 96, 512, 1024])
def test_block_scan(device: str, block: int) -> None:
    out, _, ints, _ = run(device, "scan", block, 5, 0, False)
    blocks = ints.reshape(-1, block)
    sums = np.cumsum(blocks, axis=1, dtype=np.int32)
    tops = np.maximum.accumulate(blocks ^ 0x55, axis=1)
    wanted = (sums, sums[:, -1:], tops, tops[:, -1:], sums, sums[:, -1:])
    for row, expected in zip(out, wanted):
        whole = np.broadcast_to(expected, blocks.shape).reshape(-1)
        np.testing.assert_array_equal(row, whole)
