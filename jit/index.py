"""file stats -> entry name: a warm call neither renders, nor hashes headers, nor asks a compiler.

A note is believed only if every template, header and compiler has the very stat it had then (size,
modification and change time, inode) and nothing else that enters the key differs. The entry it
names is verified like any other, so a wrong note costs time and never loads a wrong library.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

from wavejit.jit import env, toolchain
from wavejit.jit.errors import NoCompilerError, ToolchainError
from wavejit.jit.key import FORMAT, header_stats, stat_of
from wavejit.jit.render import templates_of
from wavejit.jit.spec import Arch, KernelSpec
from wavejit.jit.trust import distrust


def situation(spec: KernelSpec, arch: Arch) -> str | None:
    """A digest of everything that the key depends on, from stats alone.

    None when the compiler that was asked for is not there. A machine without any has situations
    too: they lead to prebuilt entries.
    """
    import tvm_ffi

    compilers: list[str] = []
    missing: object = None
    try:
        compilers = toolchain.locate(arch)
    except NoCompilerError:
        missing = ["no compiler", env.flag("WAVEJIT_STRICT")]
    except ToolchainError:
        return None
    try:
        stats = header_stats()
        stats += map(stat_of, [*templates_of(spec), *map(os.path.realpath, compilers)])
    except OSError:
        return None
    parts = (
        FORMAT,
        (spec.template, spec.params, spec.exports, spec.checked),
        arch.name,
        toolchain.flags(arch),
        tvm_ffi.__version__,
        os.uname().machine,
        stats,
        compilers,
        missing,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def recall(root: Path, situation_digest: str) -> str | None:
    """The entry's name that was noted for this situation."""
    path = f"{root}/index/{situation_digest[:32]}.json"
    try:
        if distrust(path):
            return None
        with open(path, "rb") as file:
            note = json.loads(file.read())
        name = note["entry"] if note["situation"] == situation_digest else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and "/" not in name else None


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
        with suppress(OSError):
            partial.unlink()
