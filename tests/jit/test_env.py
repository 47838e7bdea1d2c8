"""The WAVEJIT_* variables: all of them, their values, and the log."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import tiny

from wavejit.jit import arch as archs
from wavejit.jit import env, toolchain
from wavejit.jit.errors import WavejitError
from wavejit.jit.log import logger


def test_every_variable_in_the_sources_is_declared_and_used() -> None:
    used: set[str] = set()
    folders = (tiny.REPOSITORY / "jit", tiny.REPOSITORY / "python")
    for path in (p for folder in folders for p in folder.rglob("*.py")):
        if path.name != "env.py":
            used |= set(re.findall(r'"(WAVEJIT_[A-Z_]+)"', path.read_text()))
    used.add("WAVEJIT_CACHE_DIR")  # read by env.py itself
    assert used == {variable.name for variable in env.VARIABLES}


def test_the_table_has_every_variable() -> None:
    rows = env.table().splitlines()
    assert len(rows) == 2 + len(env.VARIABLES)
    assert all(f"`{v.name}`" in row and v.meaning in row for v, row in zip(env.VARIABLES, rows[2:]))


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(None, False), ("", False), ("0", False), ("1", True), ("TRUE", True), ("false", False)],
)
def test_flags(value: str | None, meaning: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVEJIT_STRICT", raising=False)
    if value is not None:
        monkeypatch.setenv("WAVEJIT_STRICT", value)
    assert env.flag("WAVEJIT_STRICT") is meaning


def test_a_flag_that_is_neither_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEJIT_STRICT", "yes please")
    with pytest.raises(WavejitError, match="WAVEJIT_STRICT='yes please': expected 0 or 1"):
        env.flag("WAVEJIT_STRICT")


def test_the_level_is_a_flag_of_the_hosts_compiler_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVEJIT_HOST_OPT", raising=False)
    shipped = {arch: toolchain.flags(archs.load(arch)) for arch in ("host_w32", "gfx942", "sm_90")}
    assert all("-O3" in host for host, _ in shipped.values())
    monkeypatch.setenv("WAVEJIT_HOST_OPT", "g")
    for arch, (host, device) in shipped.items():
        changed = tuple("-Og" if flag == "-O3" else flag for flag in host)
        assert toolchain.flags(archs.load(arch)) == (changed, device)
    monkeypatch.setenv("WAVEJIT_HOST_OPT", "fast")
    with pytest.raises(WavejitError, match="WAVEJIT_HOST_OPT='fast': expected one of 0, 1"):
        toolchain.flags(archs.load("host_w32"))


def test_the_caches_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("WAVEJIT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert env.cache_dir() == "/home/someone/.cache/wavejit"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert env.cache_dir() == "/xdg/wavejit"
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", "~/kernels")
    assert env.cache_dir() == "/home/someone/kernels"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", "here")
    assert env.cache_dir() == str(tmp_path / "here")


def test_the_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("wavejit")
    before = log.level, list(log.handlers)
    try:
        monkeypatch.setenv("WAVEJIT_LOG", "info")
        assert logger().level == logging.INFO
        monkeypatch.setenv("WAVEJIT_LOG", "loud")
        with pytest.raises(WavejitError, match="WAVEJIT_LOG=LOUD: expected debug"):
            logger()
    finally:
        log.setLevel(before[0])
        log.handlers = before[1]
