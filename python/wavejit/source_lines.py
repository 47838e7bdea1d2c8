"""From an instruction's offset to its place in the templates and headers.

The shipped code object has no line table: on the first question the same text is compiled again with
-gline-tables-only, and used only if its code is the same, byte for byte.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from wavejit import executor, gcn
from wavejit.jit import arch as archs
from wavejit.jit import build, toolchain
from wavejit.jit.errors import WavejitError
from wavejit.jit.render import render
from wavejit.jit.spec import KernelSpec


class Lines:
    """The places of one library's instructions."""

    def __init__(self, spec: KernelSpec, arch: str) -> None:
        self._spec, self._arch = spec, arch
        self._object: bytes | None = None
        self.shipped: gcn.CodeObject | None = None  # what is executed

    def source_of(self, pc: int) -> str | None:
        """file:line of the instruction at offset `pc`, or None when it cannot be told."""
        try:
            return self._look(pc)
        except (OSError, WavejitError, ValueError, subprocess.SubprocessError):
            return None  # the message is about something else, and complete without

    def _look(self, pc: int) -> str | None:
        if self._object is None:
            self._object = compile_with_lines(self._spec, self._arch)
        if not self.shipped or not same_code(self._object, self.shipped):
            return None
        with tempfile.NamedTemporaryFile(prefix="wavejit-", suffix=".co") as file:
            file.write(self._object)
            file.flush()
            command = [executor.tool("llvm-symbolizer"), "--obj", file.name, "--no-inlines", hex(pc)]
            said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        place = said.stdout.splitlines()[1].rsplit(":", 1)[0]
        return None if place.startswith("??") else _short(place)


def compile_with_lines(spec: KernelSpec, arch: str) -> bytes:
    """The device code of `spec` for `arch` with a line table."""
    row = archs.load(arch)
    with tempfile.TemporaryDirectory(prefix="wavejit-lines-") as folder:
        source, output = Path(folder) / "device.cpp", Path(folder) / "device.co"
        source.write_text(render(spec, row))
        command = [toolchain.locate(row)[1], *toolchain.flags(row)[1], "-gline-tables-only"]
        command += ["-I", str(build.INCLUDE), "-o", str(output), str(source)]
        subprocess.run(command, capture_output=True, timeout=300, check=True)
        return output.read_bytes()


def same_code(data: bytes, shipped: gcn.CodeObject) -> bool:
    """Whether the code object in `data` has the same machine code at the same place."""
    other = gcn.CodeObject.parse(data)
    return (other.code, other.code_bytes) == (shipped.code, shipped.code_bytes)


def _short(place: str) -> str:
    """A path from the project's own folders on."""
    for folder in ("templates/", "include/"):
        _, found, rest = place.rpartition(f"/{folder}")
        if found:
            return folder + rest
    return place
