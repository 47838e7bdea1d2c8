"""Whether a file in the cache may be loaded into this process: only this user's or root's may."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def distrust(path: str | Path, *, uid: int | None = None) -> str | None:
    """Why `path` must not be used, or None.

    A foreign owner, a place others may write to and a symbolic link are refused: what can be
    exchanged by someone else would run with this user's rights.
    """
    me = os.geteuid() if uid is None else uid
    try:
        status = os.lstat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a symbolic link"
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return f"{path} is neither a file nor a folder"
    if status.st_uid not in (me, 0):
        return f"{path} belongs to user {status.st_uid}, not to {me} or root"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} may be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None
