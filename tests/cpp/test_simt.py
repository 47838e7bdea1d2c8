"""The CPU's wave executor: correct kernels, planted bugs, several libraries in one process."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "include"
WAVES = (32, 64)
BASE_FLAGS = ("-std=c++20", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pthread")

CASES = {
    "simt_kernels": (
        "shuffle_xor",
        "shuffle",
        "shuffle_up",
        "ballot",
        "barriers",
        "waves_leave",
        "half_wave",
        "lanes_leave",
        "groups_apart",
    ),
    "simt_launch": (
        "dynamic_memory",
        "grid_3d",
        "empty_grid",
        "many_blocks",
        "parallel",
        "float_mode",
    ),
}
KERNELS = [(source, case) for source, cases in CASES.items() for case in cases]

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(source, wave, *flags) -> the binary; compiled once per module."""
    folder = tmp_path_factory.mktemp("simt")
    built: dict[tuple[object, ...], Path] = {}

    def compile_once(source: str, wave: int, *flags: str) -> Path:
        key = (source, wave, *flags)
        if key not in built:
            binary = folder / f"{source}_{len(built)}"
            compiler = os.environ.get("CXX", "g++")
            command = [compiler, *BASE_FLAGS, f"-DWAVEJIT_TEST_WAVE={wave}", f"-I{INCLUDE}"]
            command += [*flags, f"{source}.cpp", "-o", str(binary)]
            # In this folder, so that messages name the file without a path.
            done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            built[key] = binary
        return built[key]

    return compile_once


def run(binary: Path, case: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, case], capture_output=True, text=True, timeout=120)


def place(name: str) -> str:
    """`(simt_faults.cpp:LINE)` of the line marked `// at: NAME`."""
    lines = (HERE / "simt_faults.cpp").read_text().splitlines()
    found = [i for i, line in enumerate(lines, 1) if line.endswith(f"// at: {name}")]
    assert len(found) == 1, name
    return f"(simt_faults.cpp:{found[0]})"


@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize(("source", "case"), KERNELS)
def test_kernel(build: Build, wave: int, source: str, case: str) -> None:
    done = run(build(source, wave), case)
    assert (done.returncode, done.stdout) == (0, f"{case}: 0 wrong values\n")


def test_switch_by_ucontext(build: Build) -> None:
    for source, case in KERNELS:
        binary = build(source, 64, "-DWAVEJIT_SIMT_UCONTEXT")
        assert run(binary, case).stdout == f"{case}: 0 wrong values\n"


def lane(number: int, wave: int = 0, block: str = "(0,0,0)", thread: str = "") -> str:
    thread = thread or f"{number},0,0"
    return f"kernel the_kernel, block {block}, wave {wave}, lane {number} (thread {thread}): "


def whole_wave(number: int) -> str:
    return f"kernel the_kernel, block (0,0,0), wave {number}: "


def messages(w: int) -> dict[str, str]:
    """The whole message of each planted bug, for waves of `w` lanes."""
    return {
        "two_lines": lane(w // 2)
        + f"divergence: this lane is at shuffle_xor<{w}> {place('two_lines second')} while "
        + f"lanes 0-{w // 2 - 1} wait at shuffle_xor<{w}> {place('two_lines first')}; "
        + f"lanes {w // 2 + 1}-{w - 1} not there yet",
        "two_kinds": lane(3)
        + f"divergence: this lane is at shuffle<{w}> {place('two_kinds')} while "
        + f"lanes 0-2 wait at ballot<{w}> {place('two_kinds')}; lanes 4-{w - 1} not there yet",
        "two_widths": whole_wave(0)
        + "deadlock by divergence, no lane of the wave can run: "
        + f"lanes 4-{w - 1} wait at shuffle_xor<{w}> {place('two_widths wide')}; "
        + f"lanes 0-3 wait at shuffle_xor<8> {place('two_widths narrow')}",
        "part_of_wave": lane(8)
        + f"divergence: this lane is at shuffle_xor<{w}> {place('part_of_wave rest')} while "
        + f"lanes 0-7 wait at shuffle_xor<{w}> {place('part_of_wave group')}; "
        + f"lanes 9-{w - 1} not there yet",
        "reads_left": lane(w - 8)
        + f"shuffle_xor<{w}> {place('reads_left')} reads lane {w - 4}, which has left the kernel",
        "reads_missing": lane(16, wave=1, thread=f"{w + 16},0,0")
        + f"shuffle<{w}> {place('reads_missing')} reads lane 20, which does not exist: "
        + f"the block has {w + 17} lanes",
        "source_outside": lane(0)
        + f"shuffle<8> {place('source_outside')} has source lane 8, which is not in 0..7: "
        + "it leaves the group of 8 lanes",
        "mask_outside": lane(0)
        + f"shuffle_xor<16> {place('mask_outside')} has lane mask 16, which is not in 0..15: "
        + "it leaves the group of 16 lanes",
        "negative_delta": lane(0)
        + f"shuffle_up<16> {place('negative_delta')} has delta -1, which is negative",
        "partial_barrier": whole_wave(0)
        + f"divergent barrier: lanes 0-4 wait at sync_block {place('partial_barrier')}; "
        + f"lanes 5-{w - 1} left the kernel; a barrier needs every lane of a wave, or none",
        "two_barriers_in_wave": lane(7)
        + f"divergence: this lane is at sync_block {place('two_barriers_in_wave second')} while "
        + f"lanes 0-6 wait at sync_block {place('two_barriers_in_wave first')}; "
        + f"lanes 8-{w - 1} not there yet",
        "two_barriers": whole_wave(2)
        + f"divergent barrier: lanes 0-{w - 1} wait at sync_block {place('two_barriers second')} "
        + f"while wave 0 waits at sync_block {place('two_barriers first')}",
        "barrier_or_shuffle": whole_wave(0)
        + "deadlock by divergence, no lane of the wave can run: "
        + f"lanes 0-5 wait at sync_block {place('barrier_or_shuffle barrier')}; "
        + f"lanes 6-{w - 1} wait at shuffle_xor<{w}> {place('barrier_or_shuffle shuffle')}",
        "stuck_wave": whole_wave(1)
        + "deadlock by divergence, no lane of the wave can run: "
        + f"lanes 0,2-{w - 1} wait at sync_block {place('stuck_wave barrier')}; "
        + f"lane 1 waits at ballot<2> {place('stuck_wave ballot')}; "
        + f"wave 0: lanes 0-{w - 1} wait at sync_block {place('stuck_wave barrier')}",
        "deep_stack": lane(5)
        + f"stack overflow, found at sync_block {place('deep_stack')}: "
        + "the local variables of a lane exceed 65536 bytes",
    }


@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize("case", messages(32))
def test_planted_bug(build: Build, wave: int, case: str) -> None:
    done = run(build("simt_faults", wave), case)
    assert done.stdout == f"{messages(wave)[case]}\n{case}: 0 wrong values\n"
    assert done.returncode == 0


@pytest.mark.parametrize("wave", WAVES)
def test_lowest_failing_block_is_reported(build: Build, wave: int) -> None:
    done = run(build("simt_faults", wave), "lowest_block")
    head = lane(9, block="(3,0,0)") + "divergence: this lane is at"
    assert done.stdout.startswith(head)
    assert place("lowest_block") in done.stdout
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("wave", WAVES)
def test_a_failed_block_is_not_waited_for(build: Build, wave: int) -> None:
    done = run(build("simt_faults", wave), "failed_is_not_waited_for")
    where = "reads lane 5, which has left the kernel\n"
    assert done.stdout == f"{where}failed_is_not_waited_for: 0 wrong values\n"


def test_failures_leave_nothing_behind(build: Build) -> None:
    assert (
        run(build("simt_faults", 32), "many_failures").stdout == "many_failures: 0 wrong values\n"
    )


def test_guard_page_stops_a_deep_stack(build: Build) -> None:
    assert run(build("simt_faults", 32), "guarded_stack").returncode == -signal.SIGSEGV


def test_block_of_impossible_size(build: Build) -> None:
    done = run(build("simt_faults", 32), "bad_blocks")
    assert done.returncode == 0, done.stdout
    sizes = ("(0,1,1)", "(33,32,1)", "(1025,1,1)", "(65536,65536,1)")
    text = "kernel the_kernel: a block of {} lanes; a block has 1 to 1024 lanes\n"
    assert done.stdout.startswith("".join(text.format(size) for size in sizes))


def test_unknown_case_fails(build: Build) -> None:
    assert run(build("simt_kernels", 32), "no_such_case").returncode == 2


LIBRARY_FLAGS = ("-shared", "-fPIC", "-fvisibility=hidden")


def test_libraries_share_nothing(build: Build) -> None:
    """Both waves in one process, in global symbol scope, from several threads at once."""
    libraries = {
        wave: ctypes.CDLL(str(build("simt_library", wave, *LIBRARY_FLAGS)), mode=os.RTLD_GLOBAL)
        for wave in WAVES
    }
    blocks = 40
    results: list[tuple[int, int, set[int]]] = []

    def launch(wave: int) -> None:
        for _ in range(10):
            out = (ctypes.c_uint32 * (blocks * 256))()
            ok = libraries[wave].count(out, blocks)
            results.append((wave, ok, set(out)))

    threads = [threading.Thread(target=launch, args=(wave,)) for wave in WAVES * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60
    assert all(ok == 1 and values == {wave} for wave, ok, values in results)


@pytest.mark.parametrize("wave", WAVES)
def test_library_exports_nothing_else(build: Build, wave: int) -> None:
    binary = build("simt_library", wave, *LIBRARY_FLAGS)
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", binary], capture_output=True, text=True, check=True
    )
    assert re.findall(r" (\S+)$", listing.stdout, re.MULTILINE) == ["count"]
