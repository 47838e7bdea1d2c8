"""Complete entries only: claim (the kernel's lock + a private folder), publish (one rename), verify.

Layout under the cache's root:
  entries/<arch>/<name>/   kernel.so kernel.cuh compiler.log manifest.json
  locks/<name>.lock        held by the builder's process and gone with it; the file means nothing
  tmp/<random>/            folders being filled; `.owner` is locked while their process lives
  failed/<name>/           the last failed build of that name
  index/<digest>.json      file stats -> entry: spares rendering when nothing changed (see index.py)
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavejit.jit.build import LIBRARY
from wavejit.jit.errors import CompileError
from wavejit.jit.key import FORMAT, file_digest
from wavejit.jit.log import logger
from wavejit.jit.trust import distrust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST = "manifest.json"
OWNER = ".owner"
ERROR = "error.txt"
LOCK_SECONDS = 60.0
POLL_SECONDS = 0.02
UNUSABLE = {
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


def check(folder: Path, *, deep: bool = False) -> tuple[Entry | None, str]:
    """The entry at `folder` if it is whole and trustworthy, else None and the reason.

    Compares the library with the manifest's SHA-256; `deep` compares every file.
    """
    if not folder.is_dir():
        return None, "not in the cache"
    for path in (folder, folder / MANIFEST, folder / LIBRARY):
        if reason := distrust(path):
            return None, reason
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = dict(manifest["files"])
        whole = manifest["format"] == FORMAT and manifest["name"] == folder.name
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"{folder / MANIFEST} cannot be read: {error}"
    if not whole or manifest.get("arch") != folder.parent.name:
        return None, f"{folder / MANIFEST} belongs to another entry or version"
    for name in files if deep else (LIBRARY,):
        try:
            came = file_digest(folder / name)
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
    wait_seconds: float = LOCK_SECONDS,
) -> tuple[Entry, bool]:
    """The entry at `place`, filled by `fill(folder)` if no other process has published it.

    Returns the entry and whether this process built it. Raises OSError when the root cannot be
    written and whatever `fill` raises; a `CompileError`'s folder is moved to failed/.
    """
    for folder in ("locks", "tmp", "failed"):
        (place.root / folder).mkdir(parents=True, exist_ok=True, mode=0o755)
    asked = time.time()
    with _lock(place.root / "locks" / f"{place.name}.lock", wait_seconds) as held:
        entry, _ = check(place.folder)
        if entry and not force:
            return entry, False
        if held:
            _sweep(place.root / "tmp")
            _repeat_failure(place, asked)
        with _staging(place.root / "tmp") as staging:
            try:
                fill(staging)
            except CompileError as error:
                raise _keep_failure(error, place, staging) from error
            seal(staging, {**manifest, "name": place.name, "arch": place.arch})
            return _rename_into(place, staging, force), True


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest over the finished files and give everything its final mode."""
    keep = {LIBRARY, "kernel.cuh", "compiler.log"}
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in keep and path.name != OWNER:
            path.unlink()
    files = {name: file_digest(folder / name) for name in sorted(keep)}
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


def _rename_into(place: Place, staging: Path, force: bool) -> Entry:
    place.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    (staging / OWNER).unlink()
    for _ in range(3):
        try:
            os.rename(staging, place.folder)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        entry, reason = check(place.folder)
        if entry and not force:
            return entry  # the winner of the race has published the same
        logger().warning("%s is replaced: %s", place.folder, "forced" if entry else reason)
        aside = place.root / "tmp" / f"aside-{uuid.uuid4().hex}"
        os.rename(place.folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    entry, reason = check(place.folder)
    if not entry:
        raise OSError(errno.EIO, f"the entry just published does not verify: {reason}")
    return entry


@contextmanager
def _lock(path: Path, wait_seconds: float) -> Iterator[bool]:
    """Hold an flock on `path`; yields False when it could not be had within the limit."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _acquire(descriptor, path, wait_seconds)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_seconds: float) -> bool:
    limit = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not told:
                logger().info("waiting for another process that compiles %s", path.stem)
                told = True
        except OSError as error:
            logger().warning("%s cannot be locked (%s): compiling without", path, error.strerror)
            return False
        if time.monotonic() > limit:
            logger().warning("%s: still locked after %.0f s, compiling too", path, wait_seconds)
            return False
        time.sleep(POLL_SECONDS)


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A fresh private folder, known to be alive by the lock on its `.owner`; removed at the end."""
    folder = parent / f"{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove the folders of builders that died."""
    for folder in parent.iterdir():
        try:
            descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(descriptor)


def _keep_failure(error: CompileError, place: Place, staging: Path) -> CompileError:
    shutil.rmtree(place.failed, ignore_errors=True)
    try:
        shutil.copytree(staging, place.failed, ignore=shutil.ignore_patterns(OWNER))
        message = str(error).replace(str(staging), str(place.failed))
        (place.failed / ERROR).write_text(message)
    except OSError as problem:
        message = str(error).replace("kept:", f"could not be kept ({problem}):")
    command = error.command.replace(str(staging), str(place.failed))
    return CompileError(message, log=error.log, folder=str(place.failed), command=command)


def _repeat_failure(place: Place, since: float) -> None:
    """Raise the failure of the process this one waited for, instead of compiling it once more."""
    path = place.failed / ERROR
    try:
        if path.stat().st_mtime < since:
            return
        message = path.read_text()
        log = (place.failed / "compiler.log").read_text(errors="replace")
    except OSError:
        return
    raise CompileError(message, log=log, folder=str(place.failed), command="")
