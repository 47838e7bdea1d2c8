"""The compiled executor: layouts of its requests, and calls."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from wavejit import executor
from wavejit.gcn.code_object import CodeObject
from wavejit.gcn.decode import Program, decode
from wavejit.gcn.disassemble import disassemble

MAX_INITIAL_SCALARS = 32
NO_REGISTER = 255
_u8, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64


class Region(ctypes.Structure):
    _fields_ = [("address", _u64), ("bytes", _u64), ("writable", _u32), ("name", _u32)]


class Count(ctypes.Structure):
    _fields_ = [("runs", _u64), ("bytes", _u64), ("segments", _u64)]


class ProgramRequest(ctypes.Structure):
    _fields_ = [
        ("instructions", ctypes.c_void_p),
        ("names", ctypes.POINTER(ctypes.c_char_p)),
        ("count", _u32),
        ("name_count", _u32),
        ("code_begin", _u64),
        ("code_bytes", _u64),
        ("program", ctypes.c_void_p),
    ]


class LaunchRequest(ctypes.Structure):
    _fields_ = [
        ("program", ctypes.c_void_p),
        ("image", _u64),
        ("regions", ctypes.POINTER(Region)),
        ("counts", ctypes.POINTER(Count)),
        ("region_count", _u32),
        ("entry", _u32),
        ("grid", _u32 * 3),
        ("block", _u32 * 3),
        ("shared_bytes", _u32),
        ("scratch_bytes", _u32),
        ("vector_registers", _u32),
        ("mode", _u32),
        ("perturbation", ctypes.c_int32),
        ("checks", _u32),
        ("fnuz", _u32),
        ("instruction_limit", _u64),
        ("initial", _u32 * MAX_INITIAL_SCALARS),
        ("initial_count", _u32),
        ("block_id_register", _u8 * 3),
        ("padding", _u8),
        ("waves", _u64),
        ("blocks", _u64),
        ("executed", _u64),
        ("fault", _u32),
        ("fault_op", _u32),
        ("fault_block", _u32 * 3),
        ("fault_wave", _u32),
        ("fault_lanes", _u64),
        ("what", ctypes.c_char * 384),
    ]


class Loaded:
    """A decoded program inside the executor, and the code object's memory."""

    def __init__(self, code_object: CodeObject) -> None:
        self.program: Program = decode(disassemble(code_object, executor.objdump()))
        self.memory = _aligned(code_object.size)
        self.address = ctypes.addressof(self.memory)
        ctypes.memmove(self.address, code_object.image(self.address), code_object.size)
        self.handle = _make(code_object, self.program)
        weakref.finalize(self, executor.module().release, self.handle)


def run(request: LaunchRequest) -> None:
    """Execute a launch; the answer, a fault too, is in the request."""
    executor.module().run(ctypes.addressof(request))


def _make(code_object: CodeObject, program: Program) -> int:
    names = (ctypes.c_char_p * len(program.names))(*(name.encode() for name in program.names))
    packed = ctypes.create_string_buffer(program.packed, len(program.packed))
    request = ProgramRequest(
        instructions=ctypes.addressof(packed),
        names=names,
        count=len(program.instructions),
        name_count=len(program.names),
        code_begin=code_object.code[0],
        code_bytes=code_object.code[1],
    )
    executor.module().make(ctypes.addressof(request))
    return int(request.program)


def _aligned(size: int, to: int = 4096) -> Any:
    """A buffer of `size` bytes at an address that is a multiple of `to`."""
    whole = ctypes.create_string_buffer(size + to)
    start = -ctypes.addressof(whole) % to
    return (ctypes.c_char * size).from_buffer(whole, start)
