"""What the cache has and why not, without compiling or loading anything: for status and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from wavejit.jit import cache, env, key, toolchain
from wavejit.jit.build import SOURCE
from wavejit.jit.errors import NoCompilerError, ToolchainError
from wavejit.jit.render import render
from wavejit.jit.spec import Arch, KernelSpec

_ABSENT = "not in the cache"
_TEXT_LINES = 40  # of a difference of two texts


@dataclass(frozen=True)
class Found:
    """One instance in the cache: `state` is cached, missing or broken, `reason` says why.

    `size` in bytes of the whole entry, 0 without one; `components` are the source key's parts and
    `identity` the compilers', "" where there is none.
    """

    spec: KernelSpec
    arch: str
    state: str
    reason: str
    entry: cache.Entry | None
    components: dict[str, object]
    identity: str
    text: str

    @property
    def size(self) -> int:
        folder = self.entry.folder if self.entry else None
        return sum(path.stat().st_size for path in folder.iterdir()) if folder else 0

    @property
    def built_by(self) -> str:
        said = str(self.entry.manifest.get("identity", "")) if self.entry else ""
        return "; ".join(said.splitlines())


@dataclass(frozen=True)
class Compilers:
    """Who would compile for an architecture: their identity and key, or why there is nobody."""

    identity: str
    tool_key: str
    missing: str


def compilers(arch: Arch) -> Compilers:
    """The compilers for `arch`; one that is there and does not work is a `ToolchainError`."""
    try:
        tools = toolchain.find(arch)
    except NoCompilerError as error:
        return Compilers("", "", str(error))
    except ToolchainError as error:
        if not env.flag("WAVEJIT_NO_COMPILE"):
            raise
        return Compilers("", "", str(error))
    return Compilers(tools.identity, key.tool_key(tools), "")


def look(spec: KernelSpec, arch: Arch, tools: Compilers) -> Found:
    """Where `spec` stands for `arch`.

    Without a compiler an entry of whichever compiler counts, as it does when a kernel is called.
    """
    root = Path(env.cache_dir())
    text = render(spec, arch)
    parts = key.components(text, arch)
    prefix = f"{spec.template}-{key.source_key(parts)}"
    if tools.missing:
        entry = cache.find_any_tool(root, arch.name, prefix)
        reason = f"{'prebuilt elsewhere' if entry else _ABSENT}; {tools.missing}"
    else:
        place = cache.Place(root, arch.name, f"{prefix}-{tools.tool_key}")
        entry, reason = cache.check(place.folder)
    state = "cached" if entry else "missing" if reason.startswith(_ABSENT) else "broken"
    return Found(spec, arch.name, state, reason, entry, parts, tools.identity, text)


@dataclass(frozen=True)
class Difference:
    """One part of the key: what it is now and what it was for the entry."""

    part: str
    now: str
    then: str


def nearest(found: Found) -> tuple[Path, list[Difference]] | None:
    """The entry of the same kernel instance whose key differs least, and in what."""
    folder = Path(env.cache_dir()) / "entries" / found.arch
    best: tuple[int, float, Path, list[Difference]] | None = None
    for path in folder.glob(f"{found.spec.template}-*"):
        entry, _ = cache.check(path, hashes=False)
        if not entry or entry.manifest.get("label") != found.spec.label:
            continue
        differences = _differences(found, entry)
        rank = (len(differences), -(path / cache.MANIFEST).stat().st_mtime)
        if best is None or rank < best[:2]:
            best = (*rank, path, differences)
    return best[2:] if best else None


def _differences(found: Found, entry: cache.Entry) -> list[Difference]:
    now = {**_plain(found.components), "compilers": found.identity or "none"}
    then: dict[str, Any] = dict(entry.manifest.get("components", {}))
    then["compilers"] = entry.manifest.get("identity", "none")
    parts = [part for part in {**now, **then} if now.get(part) != then.get(part)]
    return [_difference(part, now, then, found, entry) for part in parts]


def _difference(
    part: str, now: dict[str, Any], then: dict[str, Any], found: Found, entry: cache.Entry
) -> Difference:
    if part == "flags":
        ours, theirs = (_flat(side.get(part)) for side in (now, then))
        only = [" ".join(f for f in a if f not in b) or "-" for a, b in _both(ours, theirs)]
        return Difference(part, *only)
    if part == "text":
        return Difference(part, _text_difference(found, entry), "")
    sides = (str(side.get(part, "absent")).replace("\n", "; ") for side in (now, then))
    return Difference(part, *(side[:16] if part == "headers" else side for side in sides))


def _text_difference(found: Found, entry: cache.Entry) -> str:
    try:
        before = (entry.folder / SOURCE).read_text().splitlines()
    except OSError as error:
        return f"the entry's text cannot be read: {error.strerror}"
    names = ("in the cache", "now")
    lines = list(unified_diff(before, found.text.splitlines(), *names, lineterm="", n=1))
    more = [f"... {len(lines) - _TEXT_LINES} lines more"] if len(lines) > _TEXT_LINES else []
    return "\n".join([*lines[:_TEXT_LINES], *more])


def _both(a: list[str], b: list[str]) -> tuple[tuple[list[str], list[str]], ...]:
    return (a, b), (b, a)


def _flat(flags: Any) -> list[str]:
    return [flag for group in flags or () for flag in group]


def _plain(components: dict[str, object]) -> dict[str, Any]:
    """As a manifest's JSON gives them back."""
    return dict(json.loads(json.dumps(components)))
