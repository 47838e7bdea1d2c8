"""Compiled objects: versions, launches of all shapes, stacks, and what is no code object."""

from __future__ import annotations

import itertools
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from assembly import ARCHES, compiled

from wavejit import gcn

SOURCE = Path(__file__).with_name("survive.hip").read_text()


def objects(arch: str, version: int) -> bytes:
    options = ["-x", "hip", f"--offload-arch={arch}", "-nogpulib", "-nogpuinc", "-O3"]
    options += ["--offload-device-only", "--no-gpu-bundle-output", "-std=c++20"]
    return compiled(SOURCE, ".hip", [*options, f"-mcode-object-version={version}"])


@pytest.fixture(scope="module", params=itertools.product(ARCHES, (5, 6)), ids=str)
def machine(request: pytest.FixtureRequest) -> gcn.Machine:
    arch, version = request.param
    code = gcn.CodeObject.parse(objects(arch, version))
    assert (code.arch, code.version) == (arch, version)
    return gcn.Machine(code)


def run(
    machine: gcn.Machine,
    kernel: str,
    out: np.ndarray,
    *args: int,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (64, 1, 1),
    dynamic: int = 0,
    given: np.ndarray | None = None,
) -> None:
    machine.unmap_all()
    machine.map(out.ctypes.data, out.nbytes, "out")
    packed = struct.pack("<Q", out.ctypes.data)
    if given is not None:
        machine.map(given.ctypes.data, given.nbytes, "given", False)
        packed += struct.pack("<Q", given.ctypes.data)
    packed += b"".join(struct.pack("<I", x) for x in args)
    machine.launch(kernel, grid, block, packed, dynamic)


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((2, 3, 4), (5, 6, 7)),
        ((1, 3, 1), (1, 1, 1)),
        ((2, 1, 1), (1024, 1, 1)),
        ((3, 3, 2), (33, 2, 1)),
        ((1, 1, 2), (4, 16, 16)),
    ],
)
def test_grids_of_three_dimensions(
    machine: gcn.Machine, grid: tuple[int, int, int], block: tuple[int, int, int]
) -> None:
    blocks, threads = int(np.prod(grid)), int(np.prod(block))
    out = np.zeros(blocks * threads, "u4")
    run(machine, "places", out, *grid[:2], grid=grid, block=block)
    at = np.arange(blocks * threads)
    assert (out == at // threads * 10000 + at % threads).all()


@pytest.mark.parametrize("count", [1, 63, 64, 70, 128])
def test_early_exits_and_partial_waves(machine: gcn.Machine, count: int) -> None:
    for threads in (100, 128):
        out = np.zeros(threads, "u4")
        run(machine, "leave_early", out, count, block=(threads, 1, 1))
        at = np.arange(threads)
        assert (out == np.where(at < count, at * 2, 0)).all()


def test_dynamic_shared_memory(machine: gcn.Machine) -> None:
    out = np.zeros(500, "u4")
    run(machine, "turn_round", out, 500, block=(500, 1, 1), dynamic=2000)
    assert (out == (499 - np.arange(500)) * 3).all()
    with pytest.raises(gcn.OutOfBounds, match="of which the block has 1996"):
        run(machine, "turn_round", out, 500, block=(500, 1, 1), dynamic=1996)


def test_stacks_and_calls(machine: gcn.Machine) -> None:
    out = np.zeros(100, "u4")
    run(machine, "on_the_stack", out, block=(100, 1, 1))
    want = [sum(a * (i * a & 15) ^ (1, a)[i & 1] for i in range(16)) for a in range(100)]
    assert out.tolist() == want


def test_global_variables_are_loaded(machine: gcn.Machine) -> None:
    out = np.zeros(64, "u4")
    for _ in range(2):
        before = int(out[0]) or None
        run(machine, "count", out)
        assert len(set(out.tolist())) == 1 and (before is None or out[0] == before + 2)


def test_reduction_over_a_block(machine: gcn.Machine) -> None:
    given = np.arange(7, 1031, dtype="u4")
    out = np.zeros(1, "u4")
    run(machine, "reduce", out, block=(1024, 1, 1), given=given)
    assert out[0] == given.sum()


def test_more_values_than_registers(machine: gcn.Machine) -> None:
    given = np.random.default_rng(3).standard_normal(224).astype("f4") * np.float32(0.1)
    out = np.zeros(64, "f4")
    run(machine, "many_registers", out, given=given)
    a = np.stack([given[i : i + 64] for i in range(160)]).astype("f8")
    for _, i in itertools.product(range(3), range(160)):
        a[i] = a[i] * a[(i + 7) % 160] + 1
    assert np.allclose(out, a.sum(0), rtol=1e-4)


def test_wrong_requests(machine: gcn.Machine) -> None:
    out = np.zeros(64, "u4")
    for match, change in (
        ("the object has", {"kernel": "nothing"}),
        ("threads a block, at most 1024", {"block": (1025, 1, 1)}),
        ("expected positive sizes", {"grid": (0, 1, 1)}),
        ("more than there are", {"dynamic": 1 << 20}),
    ):
        with pytest.raises(ValueError, match=match):
            run(machine, **({"kernel": "count", "out": out} | change))  # type: ignore[arg-type]


def test_what_is_no_code_object() -> None:
    elf = bytearray(objects("gfx942", 5))
    x86 = elf.copy()
    x86[18:20] = (62).to_bytes(2, "little")
    for data, match in (
        (b"hello world", "not an ELF"),
        (b"", "not an ELF"),
        (bytes(x86), "an ELF for x86-64"),
        (bytes(elf[:40]), "a part of one"),
        (objects("gfx1100", 5), "one for gfx1100"),
        (objects("gfx90a", 5), "one for gfx90a"),
        (objects("gfx942", 4), "expected code object version 5 or 6, got version 4"),
    ):
        with pytest.raises(gcn.CodeObjectError, match=match):
            gcn.CodeObject.parse(data)


def test_damaged_objects_are_refused_or_read() -> None:
    """Cut or changed anywhere: a CodeObjectError or an object, never another exception."""
    whole, draw, refused = objects("gfx950", 6), random.Random(1), 0
    for i in range(200):
        data = bytearray(whole if i % 2 else whole[: draw.randrange(64, len(whole))])
        for _ in range(8 * (i % 2)):
            data[draw.randrange(4096 if i % 4 == 1 else len(data))] = draw.randrange(256)
        try:
            gcn.CodeObject.parse(bytes(data))
        except gcn.CodeObjectError:
            refused += 1
    assert refused > 100
