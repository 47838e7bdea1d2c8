"""The cache's folder as a whole: what is in it, whether it is whole, less of it, and moving it.

An archive is a tar file of whole entries. Importing one believes nothing that it can check: names,
hashes of every file, and that the entry's name is the digest of what it says it was made from. Who
made its libraries is a matter of trust, as with every program.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wavejit.jit import arch as archs
from wavejit.jit import cache, claim, key
from wavejit.jit.build import SOURCE
from wavejit.jit.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"\w[\w.]*-[0-9a-f]{20}-[0-9a-f]{8}", re.ASCII)
_MEMBERS = (*cache.FILES, cache.MANIFEST)
_LARGEST = 1 << 28  # bytes of one file of an archive
_DAY = 86400.0


@dataclass(frozen=True)
class Row:
    """One entry as it lies in the cache: `size` in bytes, age since it was built."""

    arch: str
    name: str
    label: str
    size: int
    age_days: float
    built_by: str
    problem: str  # why it is not used, or ""


def entries(root: Path | str) -> list[Row]:
    """Every folder under entries/, whole or not, by architecture and name; reads no library."""
    return [_row(place) for place in _places(Path(root))]


def verify(root: Path | str) -> list[tuple[str, str]]:
    """(entry, problem) of every entry that is not whole; every file is hashed."""
    found = []
    for place in _places(Path(root)):
        if problem := _problem(place.folder):
            found.append((f"{place.arch}/{place.name}", problem))
    return found


def collect(
    root: Path | str, *, max_bytes: int | None = None, max_age_days: float | None = None
) -> list[str]:
    """Remove broken entries, those built before `max_age_days`, and the oldest beyond `max_bytes`.

    Also what dead builders, failed builds and old notes left. Returns the removed entries' names,
    as <arch>/<name>. A process that has a removed library loaded keeps it.
    """
    root = Path(root)
    if not root.is_dir():
        return []
    (root / "tmp").mkdir(exist_ok=True, mode=0o755)
    broken = {name for name, _ in verify(root)}
    kept, removed = [], []
    for place in _places(root):
        row = _row(place)
        old = max_age_days is not None and row.age_days > max_age_days
        if old or f"{place.arch}/{place.name}" in broken:
            removed.append(place)
        else:
            kept.append((row.age_days, row.size, place))
    total = sum(size for _, size, _ in kept)
    for _, size, place in sorted(kept, key=lambda item: item[0], reverse=True):
        if max_bytes is None or total <= max_bytes:
            break
        removed.append(place)
        total -= size
    for place in removed:
        with suppress(FileNotFoundError):
            cache.remove(place)
    _tidy(root)
    return [f"{place.arch}/{place.name}" for place in removed]


def export(root: Path | str, path: Path | str, arch: str | None = None) -> int:
    """Write the entries (of one architecture) to the tar file `path`; returns how many.

    The same entries give the same bytes. CacheError if one of them is not whole.
    """
    path = Path(path)
    chosen = [place for place in _places(Path(root)) if arch in (None, place.arch)]
    for place in chosen:
        if problem := _problem(place.folder):
            raise CacheError(f"{problem}: remove it first (wavejit cache gc)")
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            for place in chosen:
                for name in _MEMBERS:
                    _add(archive, place, name)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return len(chosen)


def import_(root: Path | str, path: Path | str) -> int:
    """Publish the entries of the tar file `path`; returns how many were not there before.

    All of them or none: a CacheError names the first one that is not an entry of this format.
    """
    root = Path(root)
    (root / "tmp").mkdir(parents=True, exist_ok=True, mode=0o755)
    with claim.staging(root / "tmp") as staging:
        try:
            with tarfile.open(path, "r:") as archive:
                places = _unpack(archive, root, staging)
        except (tarfile.TarError, EOFError, FileExistsError) as error:
            raise CacheError(f"{path} is not an archive of wavejit: {error}") from error
        for place in places:
            if problem := _problem(staging / place.arch / place.name):
                raise CacheError(f"{path}: {problem.replace(str(staging), '')}")
        return sum(_adopt(place, staging / place.arch / place.name) for place in places)


def _places(root: Path) -> Iterator[cache.Place]:
    for folder in sorted((root / "entries").glob("*/*")):
        yield cache.Place(root, folder.parent.name, folder.name)


def _row(place: cache.Place) -> Row:
    manifest: dict[str, Any] = {}
    entry, problem = cache.check(place.folder, hashes=False)
    if entry:
        manifest, problem = entry.manifest, ""
    size, built = 0, time.time()
    for path in (place.folder, *place.folder.glob("*")):
        try:
            status = path.lstat()
        except OSError:
            continue  # removed meanwhile
        size += status.st_size if path != place.folder else 0
        built = min(built, status.st_mtime)
    return Row(
        arch=place.arch,
        name=place.name,
        label=str(manifest.get("label", "?")),
        size=size,
        age_days=max(0.0, time.time() - built) / _DAY,
        built_by="; ".join(str(manifest.get("identity", "?")).splitlines()),
        problem=problem,
    )


def _problem(folder: Path) -> str:
    """Why an entry is not whole, or "": every file's hash, and its name against its contents."""
    entry, reason = cache.check(folder, deep=True)
    if not entry:
        return reason
    manifest = entry.manifest
    parts, tools = manifest.get("components"), manifest.get("identity")
    if not isinstance(parts, dict) or not _NAME.fullmatch(folder.name):
        return f"{folder} has no components or no entry's name"
    template = folder.name.split("-")[0]
    if folder.name != f"{template}-{key.source_key(parts)}-{key.digest(tools)[:8]}":
        return f"{folder} was not made from what its manifest says"
    if key.file_digest(folder / SOURCE) != parts.get("text"):
        return f"{folder / SOURCE} is not the text that its manifest names"
    extra = {path.name for path in folder.iterdir()} - set(_MEMBERS)
    return f"{folder} holds {', '.join(sorted(extra))}, which is not its" if extra else ""


def _tidy(root: Path) -> None:
    """Remove the traces of dead builders, of failures, and notes and locks without an entry."""
    claim.sweep(root / "tmp")
    names = {place.name for place in _places(root)}
    limit = time.time() - claim.STALE_SECONDS
    locks = [path for path in (root / "locks").glob("*.lock") if path.stem not in names]
    for path in (*locks, *(root / "failed").glob("*")):
        with suppress(OSError):
            if path.lstat().st_mtime < limit:
                claim.discard(path)
    for note in (root / "index").glob("*.json"):
        if not any(f'"entry": "{name}"' in note.read_text(errors="replace") for name in names):
            claim.discard(note)


def _add(archive: tarfile.TarFile, place: cache.Place, name: str) -> None:
    with open(place.folder / name, "rb") as file:
        member = tarfile.TarInfo(f"entries/{place.arch}/{place.name}/{name}")
        member.size = os.fstat(file.fileno()).st_size
        archive.addfile(member, file)


def _unpack(archive: tarfile.TarFile, root: Path, staging: Path) -> list[cache.Place]:
    """Write the archive's files below `staging`; anything but an entry's files is refused."""
    places = {}
    for member in archive:
        parts = member.name.split("/")
        known = len(parts) == 4 and parts[0] == "entries" and parts[1] in archs.names()
        if not known or not _NAME.fullmatch(parts[2]) or parts[3] not in _MEMBERS:
            raise CacheError(f"{archive.name!s}: {member.name!r} is not a file of an entry")
        if not member.isreg() or member.size > _LARGEST:
            raise CacheError(f"{archive.name!s}: {member.name!r} is no regular file of its size")
        source = archive.extractfile(member)
        assert source is not None  # it is a regular file
        folder = staging / parts[1] / parts[2]
        folder.mkdir(parents=True, exist_ok=True)
        _write(source, folder / parts[3])
        for path in (folder.parent, folder):
            path.chmod(0o755)
        places[folder] = cache.Place(root, parts[1], parts[2])
    return list(places.values())


def _write(source: IO[bytes], path: Path) -> None:
    with open(path, "xb") as target:
        shutil.copyfileobj(source, target)
    path.chmod(0o755 if path.suffix == ".so" else 0o644)


def _adopt(place: cache.Place, folder: Path) -> bool:
    cache.open_root(place)
    if cache.check(place.folder)[0]:
        return False
    cache.install(place, folder)
    return True
