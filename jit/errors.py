"""What the engine raises. Messages say what was expected, what came, where, and what to do."""

from __future__ import annotations


class WavejitError(RuntimeError):
    """Base of the engine's errors."""


class ArchError(WavejitError, ValueError):
    """An architecture that does not exist here or cannot be told from the device."""


class TemplateError(WavejitError):
    """A template that does not exist or does not fit the spec's parameters."""


class ToolchainError(WavejitError):
    """A compiler that is missing or does not run."""


class NoCompilerError(ToolchainError):
    """There is no compiler on this machine, and none was asked for by name."""


class CompileError(WavejitError):
    """A compiler that failed. `log` is its whole output, `folder` the kept build folder."""

    def __init__(self, message: str, *, log: str, folder: str, command: str) -> None:
        super().__init__(message)
        self.log = log
        self.folder = folder
        self.command = command


class CacheError(WavejitError):
    """A cache that cannot be used: missing entry with compiling forbidden, no writable place."""
