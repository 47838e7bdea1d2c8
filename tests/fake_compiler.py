"""A host compiler that is quick because it compiles nothing: for tests that load no library."""

from __future__ import annotations

import shutil
from pathlib import Path


def fake_compiler(folder: Path, *, version: str = "", fails_on: str = "") -> Path:
    """A program that notes every source it compiles in `folder`/compiles.

    version: its first line of --version (default: the real compiler's); fails_on: a text in the
    source that it refuses.
    """
    real = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    says = f"echo '{version}'" if version else f"exec {real} --version"
    refuses = f"""! grep -q '{fails_on}' kernel.cuh || {{
  echo "templates/x.cuh.j2:7:1: error: {fails_on} is refused"; exit 1
}}"""
    path = folder / "fake-compiler"
    path.write_text(
        f"""#!/bin/sh
case " $* " in
  *" --version "*) {says}; exit ;;
  *" host.cpp "*) echo compiled >>{folder}/compiles ; {refuses if fails_on else ":"} ;;
esac
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo nothing >"$2"; shift; done
"""
    )
    path.chmod(0o755)
    return path


def compiles(folder: Path) -> int:
    """How many sources the fake compiler of `folder` has been given."""
    log = folder / "compiles"
    return len(log.read_text().splitlines()) if log.exists() else 0
