"""Complete entries only: claim a name, fill a private folder, publish it by one rename, verify.

Layout under the cache's root:
  entries/<arch>/<name>/   kernel.so kernel.cuh compiler.log manifest.json
  locks/<name>.lock        held by the builder's process and gone with it; the file means nothing
  tmp/<random>/            folders being filled; `.owner` is locked while their process lives
  failed/<name>/           the last failed build of that name
  index/<digest>.json      file stats -> entry: spares rendering when nothing changed (see index.py)
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavejit.jit import claim
from wavejit.jit.build import LIBRARY, LOG, SOURCE
from wavejit.jit.errors import CompileError
from wavejit.jit.key import FORMAT, file_digest
from wavejit.jit.log import logger
from wavejit.jit.trust import distrust

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = "manifest.json"
FILES = (LIBRARY, SOURCE, LOG)
ERROR = "error.json"
_DISK_FULL = ("No space left on device", "Disk quota exceeded")
_ROOM = 4 << 20  # bytes that a compilation may need
UNUSABLE = {
    errno.ENOENT,  # deleted while it was used
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EISDIR,
    errno.ELOOP,
}


@dataclass(frozen=True)
class Entry:
    """A verified entry."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def library(self) -> Path:
        return self.folder / LIBRARY


@dataclass(frozen=True)
class Place:
    """Where one instance lives: the cache's root, the architecture and the entry's name."""

    root: Path
    arch: str
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "entries" / self.arch / self.name

    @property
    def failed(self) -> Path:
        return self.root / "failed" / self.name


def check(folder: Path, *, deep: bool = False, hashes: bool = True) -> tuple[Entry | None, str]:
    """The entry at `folder` if it is whole and trustworthy, else None and the reason.

    Compares the library with the manifest's SHA-256; `deep` compares every file, and without
    `hashes` none is (for listing: what is loaded is always compared).
    """
    here = str(folder)  # strings: this is most of what a warm call does
    if not os.path.isdir(here):
        return None, "not in the cache"
    arch = os.path.dirname(here)
    listed = f"{here}/{MANIFEST}"
    for path in (os.path.dirname(arch), arch, here, listed, f"{here}/{LIBRARY}"):
        if reason := distrust(path):
            return None, reason
    try:
        with open(listed, "rb") as file:
            manifest = json.loads(file.read())
        files = dict(manifest["files"])
        whole = manifest["format"] == FORMAT and manifest["name"] == folder.name
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return None, f"{listed} cannot be read: {error!r}"
    if not whole or manifest.get("arch") != os.path.basename(arch):
        return None, f"{listed} belongs to another entry or version"
    compared = FILES if deep else (LIBRARY,)
    for name in compared if hashes else ():
        try:
            came = file_digest(f"{here}/{name}")
        except OSError as error:
            return None, f"{folder / name}: {error.strerror}"
        if came != files.get(name):
            return None, f"{folder / name} has SHA-256 {came[:12]}, its manifest says another"
    return Entry(folder, manifest), "cached"


def find_any_tool(root: Path, arch: str, prefix: str) -> Entry | None:
    """A whole entry of this source key, whoever compiled it; for machines without the compiler."""
    folder = root / "entries" / arch
    names = sorted(path.name for path in folder.glob(f"{prefix}-*")) if folder.is_dir() else []
    for name in names:
        entry, reason = check(folder / name)
        if entry:
            return entry
        logger().warning("%s is not used: %s", name, reason)
    return None


def publish(
    place: Place,
    fill: Callable[[Path], None],
    manifest: dict[str, Any],
    *,
    force: bool = False,
) -> tuple[Entry, bool]:
    """The entry at `place`, filled by `fill(folder)` if no other process has published it.

    Returns the entry and whether this process built it. Raises OSError when the root cannot be
    used and whatever `fill` raises; a `CompileError`'s folder is moved to failed/.
    """
    open_root(place)
    asked = time.time()
    with claim.lock(place.root / "locks" / f"{place.name}.lock") as held:
        entry, _ = check(place.folder)
        if entry and not force:
            return entry, False
        if held:
            claim.sweep(place.root / "tmp")
            _repeat_failure(place, asked)
        with claim.staging(place.root / "tmp") as staging:
            try:
                fill(staging)
            except CompileError as error:
                raise _blame(error, place, staging) from error
            seal(staging, {**manifest, "name": place.name, "arch": place.arch})
            return install(place, staging, force=force), True


def open_root(place: Place) -> None:
    """Make the cache's folders; PermissionError if one is not this user's or root's alone."""
    entries = place.root / "entries"
    for name in ("locks", "tmp", "failed", "index"):
        (place.root / name).mkdir(parents=True, exist_ok=True, mode=0o755)
    for folder in (entries, place.folder.parent):
        folder.mkdir(exist_ok=True, mode=0o755)
    for folder in (entries, place.folder.parent, place.root / "tmp", place.root / "locks"):
        if reason := distrust(folder):
            raise PermissionError(errno.EACCES, reason)


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest over the finished files and give everything its final mode."""
    for path in list(folder.iterdir()):
        if path.name not in FILES and path.name != claim.OWNER:
            claim.discard(path)
    files = {name: file_digest(folder / name) for name in FILES}
    text = json.dumps({**manifest, "format": FORMAT, "files": files}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n")
    for path in folder.iterdir():
        path.chmod(0o755 if path.name == LIBRARY else 0o644)
        _sync(path)
    folder.chmod(0o755)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def install(place: Place, folder: Path, *, force: bool = False) -> Entry:
    """Rename a sealed folder to its place; what lies there already stays if it is whole."""
    (folder / claim.OWNER).unlink(missing_ok=True)
    for _ in range(3):
        try:
            os.rename(folder, place.folder)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        entry, reason = check(place.folder)
        if entry and not force:
            return entry  # the winner of the race has published the same
        logger().warning("%s is replaced: %s", place.folder, "forced" if entry else reason)
        remove(place)
    entry, reason = check(place.folder)
    if not entry:
        raise OSError(errno.EACCES, f"the entry just published does not verify: {reason}")
    return entry


def remove(place: Place) -> None:
    """Take an entry away in one step: who has its library loaded keeps it."""
    aside = place.root / "tmp" / f"aside-{uuid.uuid4().hex}"
    os.rename(place.folder, aside)
    claim.discard(aside)


def _blame(error: CompileError, place: Place, staging: Path) -> Exception:
    """What a failed compile is: the cache's fault (OSError) or the source's, which is kept."""
    if not staging.is_dir():
        return FileNotFoundError(errno.ENOENT, f"{staging} was deleted during the compilation")
    if any(text in error.log for text in _DISK_FULL):
        return OSError(errno.ENOSPC, "No space left on device")
    try:  # where the disk is full, the compiler's words about it may be lost, too
        (staging / "probe").write_bytes(bytes(_ROOM))
        (staging / "probe").unlink()
    except OSError as problem:
        return problem
    return _keep_failure(error, place, staging)


def _keep_failure(error: CompileError, place: Place, staging: Path) -> CompileError:
    message = str(error).replace(str(staging), str(place.failed))
    command = error.command.replace(str(staging), str(place.failed))
    try:
        shutil.rmtree(place.failed, ignore_errors=True)
        (staging / ERROR).write_text(json.dumps({"message": message, "command": command}))
        (staging / claim.OWNER).unlink()
        os.rename(staging, place.failed)
    except OSError as problem:
        message = str(error).replace("kept:", f"could not be kept ({problem}):")
    return CompileError(message, log=error.log, folder=str(place.failed), command=command)


def _repeat_failure(place: Place, since: float) -> None:
    """Raise the failure of the process this one waited for, instead of compiling it once more."""
    path = place.failed / ERROR
    try:
        if path.stat().st_mtime < since:
            return
        kept = json.loads(path.read_text())
        message, command = str(kept["message"]), str(kept["command"])
        log = (place.failed / LOG).read_text(errors="replace")
    except (OSError, ValueError, KeyError, TypeError):
        return
    raise CompileError(message, log=log, folder=str(place.failed), command=command)
