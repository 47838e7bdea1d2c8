"""The one door: `get(spec, arch)` returns a loaded module, compiling it at most once."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavejit.jit import arch as archs
from wavejit.jit import cache, env, index, key, toolchain
from wavejit.jit.build import LIBRARY, check_platform, compile_library
from wavejit.jit.errors import (
    CacheError,
    CompileError,
    NoCompilerError,
    ToolchainError,
    WavejitError,
)
from wavejit.jit.load import Module
from wavejit.jit.log import logger
from wavejit.jit.render import render
from wavejit.jit.spec import Arch, KernelSpec


@dataclass(frozen=True)
class Event:
    """How one module came to be: `path` is cached, compiled or private; `reason` says why."""

    label: str
    arch: str
    path: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Unit:
    """One text to compile: whose it is, for what and with what."""

    spec: KernelSpec
    text: str
    arch: Arch
    tools: toolchain.Toolchain


@dataclass(frozen=True)
class Found:
    """A library ready to load. `temporary` is a folder to delete once it is loaded."""

    library: Path
    path: str
    reason: str
    temporary: Path | None = None


class _SourceChanged(Exception):
    """A header or template is no longer what the key says: what was compiled has no name."""


_ATTEMPTS = 3
_loaded: dict[tuple[KernelSpec, str], Module] = {}
_events: list[Event] = []
_lock = threading.RLock()


def _unlock_in_child() -> None:
    """A fork while another thread compiles must not leave the child a lock that nobody holds."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_unlock_in_child)


def get(spec: KernelSpec, arch: str) -> Module:
    """The module of `spec` for the architecture called `arch`: loaded, cached or compiled now."""
    module = _loaded.get((spec, arch))
    if module is not None:
        return module
    with _lock:
        module = _loaded.get((spec, arch))
        if module is None:
            module = _loaded[spec, arch] = _load(spec, archs.load(arch))
    return module


def warm(spec: KernelSpec, arch: str) -> Event:
    """Make sure that the cache has `spec` for `arch`, without loading it: no GPU is needed."""
    start = time.perf_counter()
    found = _obtain(spec, archs.load(arch))
    if found.temporary:
        shutil.rmtree(found.temporary, ignore_errors=True)
        raise CacheError(f"{spec.label} was compiled but could not be kept: {found.reason}")
    return Event(spec.label, arch, found.path, found.reason, time.perf_counter() - start)


def events() -> tuple[Event, ...]:
    """How every module of this process was come by, in order."""
    return tuple(_events)


def _load(spec: KernelSpec, arch: Arch) -> Module:
    start = time.perf_counter()
    found = _obtain(spec, arch)
    try:
        module = Module(spec, arch.name, found.library)
    except (OSError, RuntimeError):
        if found.library.exists():
            raise
        found = _obtain(spec, arch)  # someone removed the entry since it was checked
        module = Module(spec, arch.name, found.library)
    finally:
        if found.temporary:
            shutil.rmtree(found.temporary, ignore_errors=True)
    seconds = time.perf_counter() - start
    _events.append(Event(spec.label, arch.name, found.path, found.reason, seconds))
    logger().info("%s for %s: %s in %.3f s", spec.label, arch.name, found.path, seconds)
    return module


def _obtain(spec: KernelSpec, arch: Arch) -> Found:
    root = Path(env.cache_dir())
    forced = env.flag("WAVEJIT_FORCE_COMPILE")
    situation = index.situation(spec, arch)
    if situation and not forced and (name := index.recall(root, situation)):
        entry, _ = cache.check(root / "entries" / arch.name / name)
        if entry:
            return Found(entry.library, "cached", "unchanged since it was noted")
    for _ in range(_ATTEMPTS):
        try:
            found, name = _look_or_compile(root, spec, arch, forced)
        except _SourceChanged:
            logger().info("%s: a header changed during the compilation, again", spec.label)
            continue
        if situation and name:
            index.note(root, situation, name)
        return found
    raise WavejitError(f"{spec.label}: headers or templates change faster than they compile")


def _look_or_compile(
    root: Path, spec: KernelSpec, arch: Arch, forced: bool
) -> tuple[Found, str | None]:
    """The library and, if its entry may be noted for this situation, the entry's name."""
    forbidden = env.flag("WAVEJIT_NO_COMPILE")
    if forced and forbidden:
        raise WavejitError("WAVEJIT_FORCE_COMPILE and WAVEJIT_NO_COMPILE are both set: unset one")
    text = render(spec, arch)
    parts = key.components(text, arch)
    prefix = f"{spec.template}-{key.source_key(parts)}"
    try:
        tools = toolchain.find(arch)
    except ToolchainError as error:
        missing = isinstance(error, NoCompilerError)
        if forced or not (missing or forbidden):
            raise  # one that is there, or was asked for, and does not work is not passed over
        found = _without_compiler(root, spec, arch, prefix, error)
        return found, found.library.parent.name if missing else None
    place = cache.Place(root, arch.name, f"{prefix}-{key.tool_key(tools)}")
    entry, reason = cache.check(place.folder)
    if entry and not forced:
        return Found(entry.library, "cached", "same key"), place.name
    if forbidden:
        why = CacheError(f"WAVEJIT_NO_COMPILE is set ({reason})")
        return _without_compiler(root, spec, arch, prefix, why), None
    manifest = {"label": spec.label, "components": parts, "identity": tools.identity}
    unit = Unit(spec, text, arch, tools)
    found = _compile(unit, place, manifest, "forced" if forced else reason)
    return found, None if found.temporary else place.name


def _without_compiler(
    root: Path, spec: KernelSpec, arch: Arch, prefix: str, why: Exception
) -> Found:
    entry = cache.find_any_tool(root, arch.name, prefix)
    if entry is None:
        raise CacheError(
            f"{spec.label} for {arch.name} is not in the cache {root} and cannot be compiled: "
            f"{why}. Prebuild it where it can be: wavejit prebuild --arch {arch.name}"
        ) from why
    made_by = "; ".join(str(entry.manifest.get("identity", "")).splitlines())
    if env.flag("WAVEJIT_STRICT"):
        raise CacheError(
            f"{spec.label} for {arch.name}: the cache {root} has it from another compiler "
            f"({made_by}), which WAVEJIT_STRICT forbids to use; {why}"
        ) from why
    return Found(entry.library, "cached", f"prebuilt by {made_by}; {why}")


def _compile(unit: Unit, place: cache.Place, manifest: dict[str, Any], reason: str) -> Found:
    check_platform()

    def fill(folder: Path) -> None:
        compile_library(unit.text, unit.arch, unit.tools, folder)
        now = render(unit.spec, unit.arch)
        if key.components(now, unit.arch) != manifest["components"]:
            raise _SourceChanged

    logger().info("compiling %s for %s", unit.spec.label, unit.arch.name)
    try:
        entry, built = cache.publish(place, fill, manifest, force=reason == "forced")
    except OSError as error:
        if error.errno not in cache.UNUSABLE:
            raise
        return _compile_privately(unit, fill, place, str(error))
    path = "compiled" if built else "cached"
    return Found(entry.library, path, reason if built else "another process compiled it")


def _compile_privately(
    unit: Unit, fill: Callable[[Path], None], place: cache.Place, problem: str
) -> Found:
    """The cache cannot be used: compile for this process alone, and say so."""
    message = f"the cache {place.root} cannot be written ({problem})"
    if env.flag("WAVEJIT_STRICT"):
        raise CacheError(
            f"{message}, and WAVEJIT_STRICT forbids compiling for this process alone: "
            "set WAVEJIT_CACHE_DIR to a folder of your own"
        )
    logger().warning("%s: compiling %s for this process alone", message, unit.spec.label)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="wavejit-"))
        fill(folder)
    except CompileError:
        raise  # its message names the folder, which is kept
    except BaseException as error:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise CacheError(
                f"{message}, nor can the temporary folder ({error}): "
                "set WAVEJIT_CACHE_DIR or TMPDIR to a folder that can be written"
            ) from error
        raise
    return Found(folder / LIBRARY, "private", message, temporary=folder)
