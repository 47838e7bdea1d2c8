"""Executes compiled gfx942 and gfx950 code objects on the CPU, instruction by instruction.

`CodeObject.parse(bytes)`, `Machine(code_object)`, `.map(...)` the memory that the kernels may
touch, `.launch(...)`. The room knows no kernel and no engine; it asks `wavejit.executor` for the
compiled part and for the disassembler.
"""

from wavejit.gcn.code_object import CodeObject, Kernel
from wavejit.gcn.errors import (
    CodeObjectError,
    DivergentBarrier,
    EmulationError,
    MissingWait,
    OutOfBounds,
    RunawayLoop,
    SharedRace,
    UninitialisedRead,
    UnknownInstruction,
)
from wavejit.gcn.machine import Machine
from wavejit.gcn.report import Result, Trace

__all__ = [
    "CodeObject",
    "CodeObjectError",
    "DivergentBarrier",
    "EmulationError",
    "Kernel",
    "Machine",
    "MissingWait",
    "OutOfBounds",
    "Result",
    "RunawayLoop",
    "SharedRace",
    "Trace",
    "UninitialisedRead",
    "UnknownInstruction",
]
