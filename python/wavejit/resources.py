"""What each kernel of a compiled library asks of a multiprocessor, from its code object alone.

AMD: the metadata note (msgpack) of the AMDGPU ABI. NVIDIA: the attributes in `.nv.info` and the
sections `.nv.shared.*` of a cubin. No tool of either vendor is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_AMD, _NVIDIA = 224, 190  # ELF machines
_METADATA = 32  # NT_AMDGPU_METADATA
_NOTE = 7  # a section of notes
_SIZED = 4  # an attribute of .nv.info with its own length
_FRAME, _REGISTERS = 0x11, 0x2F


@dataclass(frozen=True)
class Resources:
    """One kernel: registers a lane, bytes of shared memory a block, bytes of scratch a lane.

    `shared` on NVIDIA includes the 1 KiB that the system keeps from sm_90 on. `scratch` is memory
    that spilled registers and arrays live in (NVIDIA: the stack's frame, of calls too);
    `spills`: vector registers that were spilled, where the code object says so, else 0.
    """

    kernel: str
    registers: int
    shared: int
    scratch: int
    spills: int


def resources(library: Path) -> list[Resources]:
    """Of every kernel in a library of a GPU; ValueError for one that holds no code object."""
    data = library.read_bytes()
    start = data.find(b"\x7fELF", 4)
    while start >= 0:
        machine = struct.unpack_from("<H", data, start + 18)[0]
        if machine in (_AMD, _NVIDIA):
            code = _Elf(data[start:])
            found = _amd(code) if machine == _AMD else _nvidia(code)
            return sorted(found, key=lambda kernel: kernel.kernel)
        start = data.find(b"\x7fELF", start + 4)
    raise ValueError(f"{library}: no device code: kernels for the CPU have no such resources")


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int


class _Elf:
    """The sections of a little-endian 64-bit ELF."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        table = struct.unpack_from("<Q", data, 40)[0]
        width, count, names = struct.unpack_from("<HHH", data, 58)
        rows = [struct.unpack_from("<IIQQQQII", data, table + i * width) for i in range(count)]
        strings = rows[names][4]
        self.sections = [
            _Section(self.text(strings + row[0]), row[1], row[4], row[5]) for row in rows
        ]

    def text(self, at: int) -> str:
        return self.data[at : self.data.index(b"\0", at)].decode()

    def body(self, section: _Section) -> bytes:
        return self.data[section.offset : section.offset + section.size]

    def symbols(self) -> list[str]:
        """The names of `.symtab`, by index."""
        table = next(s for s in self.sections if s.name == ".symtab")
        strings = next(s for s in self.sections if s.name == ".strtab").offset
        rows = struct.iter_unpack("<IBBHQQ", self.body(table))
        return [self.text(strings + row[0]) for row in rows]


def _amd(code: _Elf) -> list[Resources]:
    for section in code.sections:
        if section.kind != _NOTE:
            continue
        for kind, body in _notes(code.body(section)):
            if kind == _METADATA:
                return [_of_metadata(kernel) for kernel in _unpack(body, 0)[0]["amdhsa.kernels"]]
    raise ValueError("the code object has no metadata note")


def _of_metadata(kernel: dict[str, Any]) -> Resources:
    return Resources(
        kernel[".name"],
        kernel[".vgpr_count"],
        kernel[".group_segment_fixed_size"],
        kernel[".private_segment_fixed_size"],
        kernel.get(".vgpr_spill_count", 0),
    )


def _notes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name, size, kind = struct.unpack_from("<III", data, at)
        body = at + 12 + (name + 3) // 4 * 4
        yield kind, data[body : body + size]
        at = body + (size + 3) // 4 * 4


def _nvidia(code: _Elf) -> list[Resources]:
    names = code.symbols()
    values: dict[int, dict[str, int]] = {_FRAME: {}, _REGISTERS: {}}
    shared: dict[str, int] = {}
    kernels = []
    for section in code.sections:
        if section.name == ".nv.info":
            for attribute, body in _attributes(code.body(section)):
                if attribute in values:
                    index, value = struct.unpack("<II", body[:8])
                    values[attribute][names[index]] = value
        elif section.name.startswith(".nv.shared."):
            shared[section.name.removeprefix(".nv.shared.")] = section.size
        elif section.name.startswith(".text."):
            kernels.append(section.name.removeprefix(".text."))
    return [
        Resources(name, values[_REGISTERS][name], shared.get(name, 0), values[_FRAME][name], 0)
        for name in kernels
    ]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        form, attribute, size = struct.unpack_from("<BBH", data, at)
        size = size if form == _SIZED else 0  # others hold their value in the last two bytes
        yield attribute, data[at + 4 : at + 4 + size]
        at += 4 + size


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    """The msgpack value at `at` and where the next one begins: what AMD's metadata consists of."""
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head < 0xA0 or head in (0xDC, 0xDD, 0xDE, 0xDF):
        is_map = head < 0x90 or head in (0xDE, 0xDF)
        count = head & 15
        if head >= 0xA0:
            width = 4 if head in (0xDD, 0xDF) else 2
            count, at = int.from_bytes(data[at : at + width], "big"), at + width
        items = []
        for _ in range(count * (2 if is_map else 1)):
            item, at = _unpack(data, at)
            items.append(item)
        return (dict(zip(items[::2], items[1::2], strict=True)) if is_map else items), at
    if head < 0xC0 or head in (0xD9, 0xDA, 0xDB):
        size = head & 31
        if head >= 0xC0:
            width = 1 << (head - 0xD9)
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        return data[at : at + size].decode(), at + size
    if head in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[head], at
    if 0xCC <= head <= 0xD3:
        width = 1 << (head - 0xCC) % 4
        return int.from_bytes(data[at : at + width], "big", signed=head >= 0xD0), at + width
    if head >= 0xE0:
        return head - 0x100, at
    raise ValueError(f"metadata: msgpack byte 0x{head:02x} is none that code objects use")
