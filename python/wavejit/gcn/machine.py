"""A machine for one code object: memory that kernels may touch, and launches."""

from __future__ import annotations

import ctypes
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from wavejit.gcn import native
from wavejit.gcn.code_object import CodeObject, Kernel
from wavejit.gcn.errors import BY_NUMBER, EmulationError
from wavejit.gcn.report import Result, Trace

WAVE = 64
MAX_THREADS = 1024
SHARED_BYTES = {"gfx942": 64 << 10, "gfx950": 160 << 10}
_STACK_BYTES = 16 << 10  # of a lane whose stack's size the compiler does not know
_PROGRAMS: OrderedDict[str, native.Loaded] = OrderedDict()
_MAX_PROGRAMS = 64
_NEAR = 1 << 20  # bytes that an address may be off and still be told by its neighbour
# COMPUTE_PGM_RSRC2 and kernel code properties of the descriptor
_BLOCK_ID_BITS = (7, 8, 9)
_USER_SGPRS = ((0, 4), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 1))
_DISPATCH_POINTER, _KERNARG_POINTER = 1, 3
_PRELOAD_SKIP = 256  # bytes of code that only hardware without preloading runs
_MODE_BITS = 0xFF  # float mode in bits 12-19 of COMPUTE_PGM_RSRC1


@dataclass(frozen=True)
class Mapping:
    """Memory that kernels may touch."""

    address: int
    nbytes: int
    name: str
    writable: bool


class Machine:
    """Runs the kernels of `code_object`.

    checks: report reads of what was never written, missing waits, races and divergent barriers
    (accesses out of bounds always are). perturb: +1 or -1 moves the results of the approximate
    instructions (rcp, rsq, sqrt, exp, log, sin, cos) by so many units in the last place.
    instruction_limit: of one wave, before it counts as an endless loop. locate: from an
    instruction's offset to its place in the source, for messages.
    """

    def __init__(
        self,
        code_object: CodeObject,
        checks: bool = True,
        perturb: int = 0,
        *,
        instruction_limit: int = 50_000_000,
        locate: Callable[[int], str | None] | None = None,
    ) -> None:
        self.code_object = code_object
        self.checks = checks
        self.perturb = perturb
        self.instruction_limit = instruction_limit
        self._locate = locate
        self._mappings: list[Mapping] = []
        self._loaded = _load(code_object)

    def map(self, address: int, nbytes: int, name: str, writable: bool = True) -> None:
        """Let kernels touch `nbytes` bytes from the host's `address`; `name` is for messages."""
        if nbytes < 0 or address < 0:
            raise ValueError(
                f"{name}: expected a positive address and size, got {address}, {nbytes}"
            )
        if nbytes:
            self._mappings.append(Mapping(address, nbytes, name, writable))

    def unmap_all(self) -> None:
        """Forget all mapped memory."""
        self._mappings.clear()

    def launch(
        self,
        kernel_name: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        kernarg: bytes,
        dynamic_lds: int = 0,
    ) -> Result:
        """Run a grid of `grid` blocks of `block` threads.

        kernarg: the explicit arguments as the kernel has them; hidden ones are filled in. Raises
        ValueError for a wrong request and an EmulationError for what the kernel does wrong.
        """
        kernel = self._kernel(kernel_name)
        shared = kernel.group_segment + dynamic_lds
        self._check(kernel, grid, block, kernarg, shared)
        arguments = _argument_block(kernel, grid, block, kernarg, dynamic_lds)
        packet = _dispatch_packet(kernel, grid, block, shared)
        regions = self._regions(arguments, packet)
        counts = (native.Count * (len(self._loaded.program.instructions) + 1))()
        request = self._request(kernel, grid, block, arguments, packet)
        request.shared_bytes = shared
        request.regions = regions
        request.region_count = len(regions)
        request.counts = counts
        native.run(request)
        if request.fault:
            raise self._fault(kernel, request)
        return Result(kernel.name, self._trace(request, counts))

    def _kernel(self, name: str) -> Kernel:
        kernels = self.code_object.kernels
        if name not in kernels:
            raise ValueError(f"kernel {name!r}: the object has {', '.join(kernels) or 'none'}")
        return kernels[name]

    def _check(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        kernarg: bytes,
        shared: int,
    ) -> None:
        threads = block[0] * block[1] * block[2]
        most = min(kernel.max_workgroup_size, MAX_THREADS)
        if min(grid) < 1 or min(block) < 1:
            raise ValueError(f"{kernel.name}: expected positive sizes, got {grid} x {block}")
        if threads > most:
            raise ValueError(f"{kernel.name}: {threads} threads a block, at most {most}")
        if shared > SHARED_BYTES[self.code_object.arch]:
            raise ValueError(
                f"{kernel.name}: {shared} bytes of shared memory are more than there are"
            )
        explicit = max((a.offset + a.size for a in kernel.explicit_args), default=0)
        if len(kernarg) < explicit:
            raise ValueError(
                f"{kernel.name}: {len(kernarg)} bytes of arguments, expected {explicit}"
            )
        if kernel.wavefront_size != WAVE:
            raise ValueError(f"{kernel.name}: compiled for waves of {kernel.wavefront_size}")

    def _regions(self, *own: ctypes.Array[ctypes.c_char]) -> ctypes.Array[native.Region]:
        mapped = [(m.address, m.nbytes, m.writable) for m in self._mappings]
        for buffer in own:
            mapped.append((ctypes.addressof(buffer), len(buffer), False))
        base = self._loaded.address
        for segment in self.code_object.segments:
            mapped.append((base + segment.offset, segment.size, segment.writable))
        regions = (native.Region * len(mapped))()
        for region, (address, size, writable) in zip(regions, mapped):
            region.address, region.bytes, region.writable = address, size, writable
        return regions

    def _request(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: ctypes.Array[ctypes.c_char],
        packet: ctypes.Array[ctypes.c_char],
    ) -> native.LaunchRequest:
        first, second, _ = kernel.resources
        entry = kernel.entry + (_PRELOAD_SKIP if kernel.preload & 0x7F else 0)
        if entry not in self._loaded.program.index:
            raise ValueError(f"{kernel.name}: no instruction at its entry {entry:#x}")
        request = native.LaunchRequest(
            program=self._loaded.handle,
            image=self._loaded.address,
            entry=self._loaded.program.index[entry],
            scratch_bytes=_scratch_bytes(kernel),
            vector_registers=min(max(kernel.vgprs, kernel.agprs, 1), 256),
            mode=_mode(first),
            perturbation=self.perturb,
            checks=self.checks,
            fnuz=self.code_object.arch == "gfx942",
            instruction_limit=self.instruction_limit,
        )
        request.grid[:], request.block[:] = grid, block
        scalars = _user_scalars(kernel, arguments, packet)
        request.initial[: len(scalars)] = scalars
        request.initial_count = len(scalars)
        at = second >> 1 & 31
        for axis, bit in enumerate(_BLOCK_ID_BITS):
            wanted = second >> bit & 1
            request.block_id_register[axis] = at if wanted else native.NO_REGISTER
            at += wanted
        return request

    def _trace(self, request: native.LaunchRequest, counts: ctypes.Array[native.Count]) -> Trace:
        trace = Trace(waves=request.waves, blocks=request.blocks)
        for instruction, count in zip(self._loaded.program.instructions, counts):
            if count.runs:
                at = instruction.pc
                trace.add(instruction.mnemonic, at, count.runs, count.bytes, count.segments)
        return trace

    def _fault(self, kernel: Kernel, request: native.LaunchRequest) -> EmulationError:
        instructions = self._loaded.program.instructions
        known = request.fault_op < len(instructions)
        instruction = instructions[request.fault_op] if known else None
        text = instruction.text if instruction else "the end of the code"
        pc = instruction.pc if instruction else 0
        source = self._locate(pc) if self._locate else None
        lanes = tuple(i for i in range(WAVE) if request.fault_lanes >> i & 1)
        x, y, z = request.fault_block
        block = (x, y, z)
        message = (
            f"{kernel.name}: {request.what.decode(errors='replace')}{self._near(request)}, at "
            f"`{text}` (pc {pc:#x}{f', {source}' if source else ''}), block {block}, wave "
            f"{request.fault_wave}, lanes {_ranges(lanes)}"
        )
        kind = BY_NUMBER[request.fault] or EmulationError
        return kind(
            message,
            kernel=kernel.name,
            instruction=text,
            pc=pc,
            source=source,
            block=block,
            wave=request.fault_wave,
            lanes=lanes,
        )

    def _near(self, request: native.LaunchRequest) -> str:
        """For an address out of bounds: the mapped memory that is nearest."""
        _, found, digits = request.what.decode(errors="replace").partition("at address 0x")
        if not found or not self._mappings:
            return ""
        address = int(digits.split()[0].rstrip(","), 16)
        near = min(self._mappings, key=lambda m: _distance(m, address))
        if _distance(near, address) > _NEAR:
            return ", far from all mapped memory"
        if address < near.address:
            where = f"{near.address - address} bytes before"
        elif address >= near.address + near.nbytes:
            where = f"{address - near.address - near.nbytes} bytes past the end of"
        else:
            where = f"{address - near.address} bytes into"
        return f", {where} {near.name} ({near.nbytes} bytes)"


def _load(code_object: CodeObject) -> native.Loaded:
    loaded = _PROGRAMS.get(code_object.digest)
    if loaded is None:
        loaded = _PROGRAMS[code_object.digest] = native.Loaded(code_object)
        while len(_PROGRAMS) > _MAX_PROGRAMS:
            _PROGRAMS.popitem(last=False)
    _PROGRAMS.move_to_end(code_object.digest)
    return loaded


def _distance(mapping: Mapping, address: int) -> int:
    return max(mapping.address - address, address - mapping.address - mapping.nbytes, 0)


def _ranges(lanes: tuple[int, ...]) -> str:
    """0-3, 7 for (0, 1, 2, 3, 7)."""
    parts: list[list[int]] = []
    for lane in lanes:
        if parts and lane == parts[-1][1] + 1:
            parts[-1][1] = lane
        else:
            parts.append([lane, lane])
    return ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in parts) or "none"


def _mode(resources: int) -> int:
    """The MODE register at the start: float mode, clamping of NaN and IEEE."""
    return (resources >> 12 & _MODE_BITS) | (resources >> 21 & 1) << 8 | (resources >> 23 & 1) << 9


def _scratch_bytes(kernel: Kernel) -> int:
    dynamic = kernel.properties >> 11 & 1
    return kernel.private_segment + (_STACK_BYTES if dynamic else 0)


def _user_scalars(
    kernel: Kernel,
    arguments: ctypes.Array[ctypes.c_char],
    packet: ctypes.Array[ctypes.c_char],
) -> list[int]:
    """The scalar registers that a wave starts with, from s0, as the kernel's properties ask."""
    addresses = {
        _KERNARG_POINTER: ctypes.addressof(arguments),
        _DISPATCH_POINTER: ctypes.addressof(packet),
    }
    found: list[int] = []
    for bit, count in _USER_SGPRS:
        if not kernel.properties >> bit & 1:
            continue
        value = addresses.get(bit, 0)
        found += [value & 0xFFFFFFFF, value >> 32, 0, 0][:count]
    length, start = kernel.preload & 0x7F, kernel.preload >> 7
    raw = arguments.raw[4 * start : 4 * (start + length)]
    return found + [int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4)]


def _argument_block(
    kernel: Kernel,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    kernarg: bytes,
    dynamic_lds: int,
) -> ctypes.Array[ctypes.c_char]:
    """The arguments as the kernel reads them, with the hidden ones of versions 5 and 6."""
    size = max(kernel.kernarg_size, len(kernarg), 8)
    whole = bytearray(size)
    whole[: len(kernarg)] = kernarg
    hidden = {"hidden_grid_dims": 1 + (grid[1] > 1) + (grid[2] > 1)}
    hidden |= {"hidden_dynamic_lds_size": dynamic_lds}
    hidden |= {"hidden_private_base": 0x20000, "hidden_shared_base": 0x10000}
    for axis, name in enumerate("xyz"):
        hidden[f"hidden_block_count_{name}"] = grid[axis]
        hidden[f"hidden_group_size_{name}"] = block[axis]
    for argument in kernel.hidden_args:
        value = hidden.get(argument.kind, 0)
        whole[argument.offset : argument.offset + argument.size] = value.to_bytes(
            argument.size, "little"
        )
    return ctypes.create_string_buffer(bytes(whole), size)


def _dispatch_packet(
    kernel: Kernel, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int
) -> ctypes.Array[ctypes.c_char]:
    """What the dispatch pointer leads to: sizes in threads."""
    threads = [g * b for g, b in zip(grid, block)]
    packed = struct.pack("<HHHHHHIIIII", 2, 3, *block, 0, *threads, kernel.private_segment, shared)
    return ctypes.create_string_buffer(packed, 64)
