"""From an instruction's offset to its place in the templates and headers.

The shipped code object has no line table: on the first question the same text is compiled again
with -gline-tables-only, and used only if its code is the same, byte for byte.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
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
        self.spec, self._arch = spec, arch
        self._object: bytes | None = None
        self.shipped: gcn.CodeObject | None = None  # what is executed

    def source_of(self, pc: int) -> str | None:
        """file:line of the instruction at offset `pc`, or None when it cannot be told."""
        try:
            return self.sources_of([pc])[0]
        except (OSError, WavejitError, ValueError, subprocess.SubprocessError):
            return None  # the message is about something else, and complete without

    def sources_of(self, places: Sequence[int]) -> list[str | None]:
        """file:line of each offset; None where the line table has none, or is for other code."""
        if self._object is None:
            self._object = compile_with_lines(self.spec, self._arch)
        if not self.shipped or not same_code(self._object, self.shipped):
            return [None] * len(places)
        with tempfile.NamedTemporaryFile(prefix="wavejit-", suffix=".co") as file:
            file.write(self._object)
            file.flush()
            said = subprocess.run(
                [executor.tool("llvm-symbolizer"), "--obj", file.name, "--no-inlines"],
                input="\n".join(map(hex, places)),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout
        found = [block.splitlines()[1] for block in said.strip().split("\n\n")]
        return [_short(place) for place in found]


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


def _short(place: str) -> str | None:
    """`file:line` from `path:line:column`, from the project's own folders on."""
    path = place.rsplit(":", 1)[0]
    if path.startswith("??"):
        return None
    for folder in ("templates/", "include/"):
        _, found, rest = path.rpartition(f"/{folder}")
        if found:
            return folder + rest
    return path
