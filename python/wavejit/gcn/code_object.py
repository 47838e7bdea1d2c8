"""A compiled code object: the ELF, its notes, kernel descriptors, symbols and memory image."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from wavejit.gcn import msgpack
from wavejit.gcn.errors import CodeObjectError

ARCHES = {0x4C: "gfx942", 0x4F: "gfx950"}
# Chips that one may bring by mistake, by the number in the ELF's flags.
_OTHERS = {0x3F: "gfx90a", 0x40: "gfx940", 0x4B: "gfx941", 0x41: "gfx1100", 0x4E: "gfx1201"}
_OTHERS |= {
    0x48: "gfx1200",
    0x36: "gfx1030",
    0x2F: "gfx906",
    0x30: "gfx908",
    0x5F: "gfx9-4-generic",
}
_MACHINES = {62: "x86-64", 183: "AArch64", 190: "CUDA", 3: "x86", 243: "RISC-V"}
_AMDGPU = 224
_HSA = 64  # the operating system's number in the ELF of an HSA code object
_VERSIONS = {3: 5, 4: 6}  # EI_ABIVERSION -> code object version
_DAMAGE = (struct.error, IndexError, KeyError, AttributeError, TypeError, ValueError)
_MOST_BYTES = 1 << 30  # of memory that an object may ask for
_NOTE = 32
_RELATIVE64 = 13


@dataclass(frozen=True)
class Argument:
    """One kernel argument: bytes of the argument block, and what fills them."""

    offset: int
    size: int
    kind: str


@dataclass(frozen=True)
class Kernel:
    """One kernel: sizes in bytes, its registers and where its code and its setup are."""

    name: str
    kernarg_size: int
    group_segment: int
    private_segment: int
    max_workgroup_size: int
    wavefront_size: int
    sgprs: int
    vgprs: int
    agprs: int
    args: tuple[Argument, ...]
    entry: int  # offset of the first instruction
    resources: tuple[int, int, int]  # the descriptor's COMPUTE_PGM_RSRC1, 2 and 3
    properties: int
    preload: int

    @property
    def explicit_args(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.args if not a.kind.startswith("hidden_"))

    @property
    def hidden_args(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.args if a.kind.startswith("hidden_"))


@dataclass(frozen=True)
class Segment:
    """A part of the memory image."""

    offset: int
    size: int
    writable: bool


@dataclass(frozen=True)
class Section:
    name: str
    kind: int
    address: int
    offset: int
    size: int
    link: int


class CodeObject:
    """A gfx942 or gfx950 code object of version 5 or 6. `CodeObject.parse(data)` makes one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.digest = hashlib.sha256(data).hexdigest()
        self.arch, self.version = _identify(data)
        try:
            self._read()
        except CodeObjectError:
            raise
        except _DAMAGE as error:
            raise CodeObjectError(f"a damaged {self.arch} code object: {error!r}") from error

    @staticmethod
    def parse(data: bytes) -> CodeObject:
        """The code object in `data`; CodeObjectError says what came if it is another thing."""
        return CodeObject(bytes(data))

    @property
    def code_bytes(self) -> bytes:
        """The machine code: the section .text."""
        section = next((s for s in self._sections if s.name == ".text"), None)
        return self.data[section.offset : section.offset + section.size] if section else b""

    def image(self, base: int) -> bytes:
        """The memory that the object occupies when it is loaded at address `base`."""
        memory = bytearray(self.size)
        for _, file_offset, address, file_size in self._loads:
            memory[address : address + file_size] = self.data[file_offset : file_offset + file_size]
        for section in self._sections:
            if section.kind == 4:
                self._relocate(memory, section, base)
        return bytes(memory)

    def _read(self) -> None:
        self._loads, self.segments = _segments(self.data)
        self.size = max((s.offset + s.size for s in self.segments), default=0)
        if self.size > _MOST_BYTES:
            raise CodeObjectError(f"the code object asks for {self.size} bytes of memory")
        self._sections = _sections(self.data)
        self.symbols = self._symbols()
        text = next((s for s in self._sections if s.name == ".text"), None)
        self.code = (text.address, text.size) if text else (0, 0)
        self.has_lines = any(s.name == ".debug_line" for s in self._sections)
        notes = self._notes()
        self.metadata = notes
        self.kernels = {k[".name"]: self._kernel(k) for k in notes.get("amdhsa.kernels", [])}

    def _symbols(self) -> dict[str, tuple[int, int]]:
        """name -> (address, size) of everything that the object defines."""
        found = {}
        for section in self._sections:
            if section.kind not in (2, 11):
                continue
            names = self._sections[section.link]
            for at in range(section.offset, section.offset + section.size, 24):
                name, _, _, index, value, size = struct.unpack_from("<IBBHQQ", self.data, at)
                if index:
                    found[_text(self.data, names.offset + name)] = (value, size)
        return found

    def _notes(self) -> dict[str, Any]:
        for section in self._sections:
            if section.kind != 7:
                continue
            at, end = section.offset, section.offset + section.size
            while at + 12 <= end:
                name_size, size, kind = struct.unpack_from("<III", self.data, at)
                body = at + 12 + (name_size + 3) // 4 * 4
                if kind == _NOTE:
                    return dict(msgpack.unpack(self.data[body : body + size]))
                at = body + (size + 3) // 4 * 4
        raise CodeObjectError("the code object has no AMDGPU metadata note")

    def _kernel(self, note: dict[str, Any]) -> Kernel:
        name = note[".name"]
        symbol = note.get(".symbol", f"{name}.kd")
        if symbol not in self.symbols:
            raise CodeObjectError(f"kernel {name} has no descriptor {symbol}")
        address = self.symbols[symbol][0]
        descriptor = self.image(0)[address : address + 64]
        group, private, kernarg = struct.unpack_from("<III", descriptor, 0)
        (entry,) = struct.unpack_from("<q", descriptor, 16)
        third, first, second = struct.unpack_from("<III", descriptor, 44)
        properties, preload = struct.unpack_from("<HH", descriptor, 56)
        args = note.get(".args", [])
        return Kernel(
            name=name,
            kernarg_size=max(kernarg, note.get(".kernarg_segment_size", 0)),
            group_segment=group,
            private_segment=private,
            max_workgroup_size=note.get(".max_flat_workgroup_size", 1024),
            wavefront_size=note.get(".wavefront_size", 64),
            sgprs=note.get(".sgpr_count", 0),
            vgprs=note.get(".vgpr_count", 0),
            agprs=note.get(".agpr_count", 0),
            args=tuple(Argument(a[".offset"], a[".size"], a[".value_kind"]) for a in args),
            entry=address + entry,
            resources=(first, second, third),
            properties=properties,
            preload=preload,
        )

    def _relocate(self, memory: bytearray, section: Section, base: int) -> None:
        for at in range(section.offset, section.offset + section.size, 24):
            place, info, addend = struct.unpack_from("<QQq", self.data, at)
            if info & 0xFFFFFFFF != _RELATIVE64:
                raise CodeObjectError(f"relocation type {info & 0xFFFFFFFF} is not supported")
            struct.pack_into("<Q", memory, place, base + addend)


def _identify(data: bytes) -> tuple[str, int]:
    """The chip's name and the code object's version, or an error that says what this is."""
    want = "a gfx942 or gfx950 code object"
    if data[:4] != b"\x7fELF":
        hint = (
            " (an offload bundle: take the code object out of it)"
            if b"OFFLOAD" in data[:24]
            else ""
        )
        raise CodeObjectError(f"expected {want}, got {data[:4]!r}...: not an ELF{hint}")
    if len(data) < 64 or data[4] != 2:
        raise CodeObjectError(f"expected {want}, got an ELF of 32 bits or a part of one")
    (machine,) = struct.unpack_from("<H", data, 18)
    if machine != _AMDGPU:
        name = _MACHINES.get(machine, f"machine {machine}")
        raise CodeObjectError(f"expected {want}, got an ELF for {name}")
    if data[7] != _HSA:
        raise CodeObjectError(f"expected {want}, got an AMDGPU ELF that is not for HSA")
    (flags,) = struct.unpack_from("<I", data, 48)
    chip = flags & 0xFF
    if chip not in ARCHES:
        name = _OTHERS.get(chip, f"chip {chip:#x}")
        raise CodeObjectError(f"expected {want}, got one for {name}")
    if data[8] not in _VERSIONS:
        raise CodeObjectError(
            f"expected code object version 5 or 6, got version {data[8] + 2}: "
            "compile with -mcode-object-version=5 or newer"
        )
    return ARCHES[chip], _VERSIONS[data[8]]


def _segments(data: bytes) -> tuple[list[tuple[int, int, int, int]], tuple[Segment, ...]]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    loads, segments = [], []
    for i in range(count):
        kind, flags, offset, address, _, file_size, memory_size, _ = struct.unpack_from(
            "<IIQQQQQQ", data, start + i * size
        )
        if kind != 1:
            continue
        if offset + file_size > len(data):
            raise CodeObjectError(f"the code object ends at {len(data)} of {offset + file_size}")
        loads.append((flags, offset, address, file_size))
        segments.append(Segment(address, memory_size, bool(flags & 2)))
    return loads, tuple(segments)


def _sections(data: bytes) -> list[Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    strings = raw[names][4]
    return [Section(_text(data, strings + r[0]), r[1], r[3], r[4], r[5], r[6]) for r in raw]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
