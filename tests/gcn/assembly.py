"""Kernels from assembler text, and one instruction after another against Python's arithmetic.

Every lane loads four operands of 64 bits and stores one result. In a case's text `a b c e` are
their low registers and `aa bb cc ee` the pairs, `d` and `dd` the result, `dh` its high register.
"""

from __future__ import annotations

import inspect
import os
import random
import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import formats
import numpy as np

from wavejit import gcn
from wavejit.jit import arch as archs
from wavejit.jit import toolchain

ARCHES = archs.EMULATED
LANES = 64
MASK = 0xFFFFFFFF
OLD = 0x11112222, 0x33334444  # what d and dh hold before
ROWS = 512  # lanes of operands for each case

_KERNEL = """
.text
.globl {name}
.p2align 8
.type {name},@function
{name}:
{body}
s_endpgm
.Lend_{name}:
.size {name}, .Lend_{name}-{name}
.section .rodata,"a",@progbits
.p2align 6
.amdhsa_kernel {name}
.amdhsa_next_free_vgpr 128
.amdhsa_next_free_sgpr 64
.amdhsa_accum_offset 64
.amdhsa_float_denorm_mode_32 3
.amdhsa_user_sgpr_kernarg_segment_ptr 1
.amdhsa_system_sgpr_workgroup_id_x 1
.amdhsa_group_segment_fixed_size {shared}
.amdhsa_private_segment_fixed_size {scratch}
.end_amdhsa_kernel
"""
_NOTE = """  - .name: {name}
    .symbol: {name}.kd
    .kernarg_segment_size: 16
    .group_segment_fixed_size: {shared}
    .private_segment_fixed_size: {scratch}
    .kernarg_segment_align: 8
    .wavefront_size: 64
    .sgpr_count: 64
    .vgpr_count: 64
    .agpr_count: 64
    .max_flat_workgroup_size: 1024
    .args:
      - {{.address_space: global, .offset: 0, .size: 8, .value_kind: global_buffer}}
      - {{.address_space: global, .offset: 8, .size: 8, .value_kind: global_buffer}}
"""
# s[4:5] input, s[6:7] output, v0 the thread
ENTRY = "s_load_dwordx4 s[4:7], s[0:1], 0x0\ns_waitcnt lgkmcnt(0)\n"
_LOAD = f"""v_lshl_or_b32 v1, s2, 6, v0
v_lshlrev_b32 v20, 5, v1
global_load_dwordx4 v[4:7], v20, s[4:5]
global_load_dwordx4 v[8:11], v20, s[4:5] offset:16
v_mov_b32 v2, {OLD[0]:#x}
v_mov_b32 v3, {OLD[1]:#x}
s_waitcnt vmcnt(0)
"""
_STORE = "\ns_nop 4\nv_lshlrev_b32 v21, 3, v1\nglobal_store_dwordx2 v21, v[2:3], s[6:7]"
_NAMES = {"d": "v2", "dh": "v3", "dd": "v[2:3]"}
for _i, _name in enumerate("abce"):
    _NAMES |= {_name: f"v{4 + 2 * _i}", 2 * _name: f"v[{4 + 2 * _i}:{5 + 2 * _i}]"}
_NAME = re.compile(r"\b(" + "|".join(_NAMES) + r")\b")


def assemble(
    kernels: dict[str, str], arch: str, *, shared: int = 0, scratch: int = 0
) -> gcn.CodeObject:
    """A code object of kernels whose bodies are assembler text."""
    sizes = {"shared": shared, "scratch": scratch}
    text = f'.amdgcn_target "amdgcn-amd-amdhsa--{arch}"\n'
    text += "".join(_KERNEL.format(name=n, body=b, **sizes) for n, b in kernels.items())
    text += ".amdgpu_metadata\n---\namdhsa.version: [1, 2]\namdhsa.kernels:\n"
    text += "".join(_NOTE.format(name=n, **sizes) for n in kernels)
    text += "...\n.end_amdgpu_metadata\n"
    options = ["-target", "amdgcn-amd-amdhsa", f"-mcpu={arch}"]
    return gcn.CodeObject.parse(compiled(text, ".s", options))


def compiled(text: str, suffix: str, options: Sequence[str]) -> bytes:
    """What the compiler for AMD makes of `text`."""
    compiler = toolchain.locate(archs.load("gfx942"))[1]
    with tempfile.TemporaryDirectory(prefix="wavejit-tests-") as folder:
        source, out = os.path.join(folder, f"x{suffix}"), os.path.join(folder, "x.co")
        with open(source, "w") as file:
            file.write(text)
        command = [compiler, *options, source, "-o", out]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:3000]
        with open(out, "rb") as binary:
            return binary.read()


def launch(
    machine: gcn.Machine,
    kernel: str,
    given: np.ndarray,
    out: np.ndarray,
    *,
    blocks: int = 1,
    threads: int = LANES,
) -> gcn.Result:
    machine.unmap_all()
    machine.map(given.ctypes.data, given.nbytes, "given", False)
    machine.map(out.ctypes.data, out.nbytes, "out")
    kernarg = struct.pack("<2Q", given.ctypes.data, out.ctypes.data)
    return machine.launch(kernel, (blocks, 1, 1), (threads, 1, 1), kernarg)


@dataclass(frozen=True, eq=False)
class Case:
    """`text` makes `expect(a, b, ...)` out of operands drawn as `kind`, and nothing else.

    expect: integers of 32 bits to such an integer or a pair of them; of 64 bits where the kind is
    of 64 bits. `wave`: expect(rows) gives one result a lane of the wave instead.
    """

    text: str
    expect: Callable[..., object]
    kind: str = "i32"
    wide: bool = False  # the result has 64 bits
    wave: bool = False
    arches: tuple[str, ...] = ARCHES
    seed: int = 1

    @property
    def body(self) -> str:
        return _NAME.sub(lambda m: _NAMES[m.group()], self.text)

    @cache  # noqa: B019
    def operands(self) -> np.ndarray:
        draw = random.Random(zlib.crc32(self.text.encode()) ^ self.seed)
        rows = [[formats.draw(self.kind, draw) for _ in range(4)] for _ in range(ROWS)]
        return np.array(rows, "u8").view("u4")

    @cache  # noqa: B019
    def expected(self) -> np.ndarray:
        rows = self.operands().view("u8").tolist()
        if not formats.is_wide(self.kind):
            rows = [[x & MASK for x in row] for row in rows]
        if self.wave:
            waves = [rows[i : i + LANES] for i in range(0, ROWS, LANES)]
            found = [one for wave in waves for one in self.expect(wave)]  # type: ignore[attr-defined]
        else:
            given = inspect.signature(self.expect).parameters.values()
            count = sum(one.default is one.empty for one in given)
            found = [self.expect(*row[:count]) for row in rows]
        return np.array([self._pair(one) for one in found], "u4")

    def _pair(self, result: object) -> tuple[int, int]:
        if isinstance(result, tuple):
            return result[0] & MASK, result[1] & MASK
        number = int(result)  # type: ignore[call-overload]
        return number & MASK, (number >> 32 & MASK) if self.wide else OLD[1]


def check(cases: Iterable[Case], arch: str, *, shared: int = 0, scratch: int = 0) -> None:
    """Run every case on `arch` and compare all lanes; the message names those that differ."""
    chosen = {f"k{i}": case for i, case in enumerate(c for c in cases if arch in c.arches)}
    bodies = {name: ENTRY + _LOAD + case.body + _STORE for name, case in chosen.items()}
    machine = gcn.Machine(assemble(bodies, arch, shared=shared, scratch=scratch))
    wrong = []
    for name, case in chosen.items():
        out = np.zeros((ROWS, 2), "u4")
        try:
            launch(machine, name, case.operands(), out, blocks=ROWS // LANES)
        except gcn.EmulationError as error:
            wrong.append(f"{case.text}: {error}")
            continue
        bad = np.flatnonzero((out != case.expected()).any(axis=1))
        for row in bad[:2]:
            given = " ".join(f"{x:08x}" for x in case.operands()[row])
            got, want = ([f"{x:08x}" for x in y[row]] for y in (out, case.expected()))
            wrong.append(
                f"{case.text}: lane {row} of {given}: got {got}, expected {want} ({len(bad)} bad)"
            )
    assert not wrong, f"{arch}, {len(chosen)} cases:\n" + "\n".join(wrong)
