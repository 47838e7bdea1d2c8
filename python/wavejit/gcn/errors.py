"""What the interpreter raises: an object it cannot take, and what a kernel did wrong."""

from __future__ import annotations


class CodeObjectError(ValueError):
    """Not a code object that the interpreter can run; the message says what it is instead."""


class EmulationError(RuntimeError):
    """A kernel did what hardware does not report.

    The message names kernel, instruction, place in the source, block, wave and lanes; the same
    are attributes. `pc` is the instruction's offset in the code object.
    """

    def __init__(
        self,
        message: str,
        *,
        kernel: str = "",
        instruction: str = "",
        pc: int = 0,
        source: str | None = None,
        block: tuple[int, int, int] = (0, 0, 0),
        wave: int = 0,
        lanes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kernel = kernel
        self.instruction = instruction
        self.pc = pc
        self.source = source
        self.block = block
        self.wave = wave
        self.lanes = lanes


class OutOfBounds(EmulationError):
    """An access outside the memory that was given, shared memory or scratch."""


class UninitialisedRead(EmulationError):
    """A register or a byte of shared memory that was never written is read."""


class MissingWait(EmulationError):
    """A loaded register is used before the s_waitcnt that guards it."""


class SharedRace(EmulationError):
    """Two waves touch a byte of shared memory without a barrier, and one writes."""


class DivergentBarrier(EmulationError):
    """A barrier that part of a wave, or of a block, did not reach."""


class RunawayLoop(EmulationError):
    """A wave that executes more instructions than the limit."""


class UnknownInstruction(EmulationError):
    """An instruction, modifier, mode or register that the interpreter does not know."""


# The order is that of FaultKind in include/wavejit/gcn/fault.h.
BY_NUMBER = (
    None,
    OutOfBounds,
    UninitialisedRead,
    MissingWait,
    SharedRace,
    DivergentBarrier,
    RunawayLoop,
    UnknownInstruction,
)
