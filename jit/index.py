"""file stats -> entry name: a warm call neither renders, nor hashes headers, nor asks a compiler.

A note is believed only if every template, header and compiler has the very stat it had then (size,
modification and change time, inode) and nothing else that enters the key differs. The entry it
names is verified like any other, so a wrong note costs time and never loads a wrong library.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

from wavejit.jit import toolchain
from wavejit.jit.errors import ToolchainError
from wavejit.jit.key import FORMAT, digest, headers, stat_of
from wavejit.jit.render import templates_of
from wavejit.jit.spec import Arch, KernelSpec
from wavejit.jit.trust import distrust


def situation(spec: KernelSpec, arch: Arch) -> str | None:
    """A digest of everything that the key depends on, from stats alone; None without a compiler."""
    import tvm_ffi

    try:
        compilers = toolchain.locate(arch)
    except ToolchainError:
        return None
    files = [*templates_of(spec), *headers(), *(os.path.realpath(path) for path in compilers)]
    return digest(
        [
            FORMAT,
            [spec.template, spec.params, spec.exports],
            arch.name,
            toolchain.flags(arch),
            str(tvm_ffi.__version__),
            [stat_of(path) for path in files],
            compilers,
        ]
    )


def recall(root: Path, situation_digest: str) -> str | None:
    """The entry's name that was noted for this situation."""
    path = root / "index" / f"{situation_digest[:32]}.json"
    try:
        if distrust(path):
            return None
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return note.get("entry") if note.get("situation") == situation_digest else None


def note(root: Path, situation_digest: str, entry: str) -> None:
    """Remember the entry for this situation. A cache that cannot be written stays as it is."""
    folder = root / "index"
    partial = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        partial.write_text(json.dumps({"situation": situation_digest, "entry": entry}))
        partial.chmod(0o644)
        os.replace(partial, folder / f"{situation_digest[:32]}.json")
    except OSError:
        partial.unlink(missing_ok=True)
