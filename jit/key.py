"""What a compiled library depends on, as a digest that is the same in every checkout.

The source key covers the rendered text, every header, every flag and the binding's version; the
tool key covers who compiles. Paths, users, locales and hash seeds are in neither.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from wavejit.jit.build import INCLUDE
from wavejit.jit.spec import Arch
from wavejit.jit.toolchain import Toolchain, flags

FORMAT = 1  # of entries and manifests; raise it when either changes
Stat = tuple[str, int, int, int, int]


def digest(value: object) -> str:
    """SHA-256 of the value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb", 0) as file:
        return hashlib.sha256(file.read()).hexdigest()


def header_stats() -> list[Stat]:
    """Every header of the project: a depfile would miss what only a device pass includes."""
    found, folders = [], [str(INCLUDE)]
    while folders:
        with os.scandir(folders.pop()) as listing:
            for item in listing:
                if item.name.endswith((".h", ".cuh")):
                    found.append(_stat(item.path, item.stat()))
                elif item.is_dir():
                    folders.append(item.path)
    return sorted(found)


def stat_of(path: str) -> Stat:
    """What changes when a file changes, whatever its time stamp is set to."""
    return _stat(path, os.stat(path))


def _stat(path: str, status: os.stat_result) -> Stat:
    return (path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _headers_digest(stats: tuple[Stat, ...]) -> str:
    paths = [Path(stat[0]) for stat in stats]
    return digest({path.relative_to(INCLUDE).as_posix(): file_digest(path) for path in paths})


def components(text: str, arch: Arch) -> dict[str, object]:
    """The parts of the source key, by name; the manifest keeps them so that `why` can compare."""
    import tvm_ffi

    return {
        "format": FORMAT,
        "text": hashlib.sha256(text.encode()).hexdigest(),
        "headers": _headers_digest(tuple(header_stats())),
        "flags": flags(arch),
        "binding": str(tvm_ffi.__version__),
        "machine": os.uname().machine,  # the host's part is this machine's code on every target
    }


def source_key(parts: dict[str, object]) -> str:
    """20 hexadecimal digits over `components`."""
    return digest(parts)[:20]


def tool_key(toolchain: Toolchain) -> str:
    """8 hexadecimal digits over the compilers' identity."""
    return digest(toolchain.identity)[:8]
