"""The one door: `get(spec, arch)` returns a loaded module, compiling it at most once."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavejit.jit import arch as archs
from wavejit.jit import cache, env, index, key, toolchain
from wavejit.jit.build import check_platform, compile_library
from wavejit.jit.errors import CacheError, CompileError, ToolchainError
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
class Found:
    """A library ready to load. `temporary` is a folder to delete once it is loaded."""

    library: Path
    path: str
    reason: str
    temporary: Path | None = None


_loaded: dict[tuple[KernelSpec, str], Module] = {}
_events: list[Event] = []
_lock = threading.RLock()


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
    finally:
        if found.temporary:
            shutil.rmtree(found.temporary, ignore_errors=True)
    seconds = time.perf_counter() - start
    _events.append(Event(spec.label, arch.name, found.path, found.reason, seconds))
    logger().info("%s for %s: %s in %.3f s", spec.label, arch.name, found.path, seconds)
    return module


def _obtain(spec: KernelSpec, arch: Arch) -> Found:
    root = Path(env.cache_dir())
    situation = index.situation(spec, arch)
    forced = env.flag("WAVEJIT_FORCE_COMPILE")
    if situation and not forced and (name := index.recall(root, situation)):
        entry, _ = cache.check(root / "entries" / arch.name / name)
        if entry:
            return Found(entry.library, "cached", "unchanged since it was noted")
    text = render(spec, arch)
    parts = key.components(text, arch)
    prefix = f"{spec.template}-{key.source_key(parts)}"
    try:
        tools = toolchain.find(arch)
    except ToolchainError as error:
        return _without_compiler(root, spec, arch, prefix, error)
    place = cache.Place(root, arch.name, f"{prefix}-{key.tool_key(tools)}")
    entry, reason = cache.check(place.folder)
    if entry and not forced:
        found = Found(entry.library, "cached", "same key")
    elif env.flag("WAVEJIT_NO_COMPILE"):
        return _without_compiler(
            root, spec, arch, prefix, CacheError(f"WAVEJIT_NO_COMPILE is set ({reason})")
        )
    else:
        manifest = {
            "label": spec.label,
            "components": parts,
            "identity": tools.identity,
        }
        found = _compile(text, arch, tools, place, manifest, "forced" if forced else reason)
    if situation and not found.temporary:
        index.note(root, situation, place.name)
    return found


def _without_compiler(
    root: Path, spec: KernelSpec, arch: Arch, prefix: str, why: Exception
) -> Found:
    entry = cache.find_any_tool(root, arch.name, prefix)
    if entry is None:
        raise CacheError(
            f"{spec.label} for {arch.name} is not in the cache {root} and cannot be compiled: {why}. "
            f"Prebuild it where it can be: wavejit prebuild --arch {arch.name}"
        ) from why
    made_by = str(entry.manifest.get("identity", "")).splitlines()
    return Found(entry.library, "cached", f"prebuilt by {'; '.join(made_by)}; {why}")


def _compile(
    text: str,
    arch: Arch,
    tools: toolchain.Toolchain,
    place: cache.Place,
    manifest: dict[str, Any],
    reason: str,
) -> Found:
    check_platform()
    forced = reason == "forced"

    def fill(folder: Path) -> None:
        compile_library(text, arch, tools, folder)

    logger().info("compiling %s for %s", manifest["label"], arch.name)
    try:
        entry, built = cache.publish(place, fill, manifest, force=forced)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and error.errno not in cache.UNUSABLE:
            raise
        return _compile_privately(text, arch, tools, place, manifest, str(error))
    path = "compiled" if built else "cached"
    return Found(entry.library, path, reason if built else "another process compiled it")


def _compile_privately(
    text: str,
    arch: Arch,
    tools: toolchain.Toolchain,
    place: cache.Place,
    manifest: dict[str, Any],
    problem: str,
) -> Found:
    """The cache cannot be written: compile for this process alone, and say so."""
    message = f"the cache {place.root} cannot be written ({problem})"
    if env.flag("WAVEJIT_STRICT"):
        raise CacheError(f"{message}, and WAVEJIT_STRICT forbids compiling for this process alone")
    logger().warning("%s: compiling %s for this process alone", message, manifest["label"])
    folder = Path(tempfile.mkdtemp(prefix="wavejit-"))
    try:
        compile_library(text, arch, tools, folder)
    except CompileError:
        raise  # its message names the folder, which is kept
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Found(folder / "kernel.so", "private", message, temporary=folder)
