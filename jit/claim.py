"""A build's claim: the kernel's lock on its name, a private folder, and sweeping after the dead.

Both locks are `flock`s: they end with their process, however it ends. The files mean nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wavejit.jit.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER = ".owner"
LOCK_SECONDS = 60.0  # after this a waiting process compiles too
POLL_SECONDS = 0.02
STALE_SECONDS = 3600.0  # a folder in tmp/ that nobody can have an eye on


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold an flock on `path`; yields False when it could not be had within LOCK_SECONDS."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _acquire(descriptor, path)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> bool:
    limit = time.monotonic() + LOCK_SECONDS
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
            logger().warning("%s: still locked after %.0f s, compiling too", path, LOCK_SECONDS)
            return False
        time.sleep(POLL_SECONDS)


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A fresh private folder, known to be alive by the lock on its `.owner`; removed at the end.

    It gets its name only when it is locked: a sweep in between would take it for a dead one.
    """
    name = f"{os.getpid()}-{uuid.uuid4().hex}"
    young, folder = parent / f"new-{name}", parent / name
    young.mkdir(mode=0o700)
    descriptor = -1
    try:
        descriptor = os.open(young / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # no locks on this file system: age alone tells
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(young, folder)
        yield folder
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        for path in (young, folder):
            shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the folders of builders that died."""
    for folder in list(parent.iterdir()):
        try:
            if folder.name.startswith("new-") or not (folder / OWNER).is_file():
                if time.time() - folder.lstat().st_mtime > STALE_SECONDS:
                    discard(folder)
                continue
            descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard(folder)
        except OSError:
            pass  # its process lives
        finally:
            os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file, link or folder as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
