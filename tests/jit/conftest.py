"""A cache of its own and the tiny template, for every test of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from wavejit.jit import render

_VARIABLES = (
    "WAVEJIT_NO_COMPILE",
    "WAVEJIT_FORCE_COMPILE",
    "WAVEJIT_STRICT",
    "WAVEJIT_COMPILER_LAUNCHER",
    "WAVEJIT_LOG",
    "WAVEJIT_ARCH",
    "CXX",
)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An engine that knows `tiny` and nothing else; its empty cache's folder (not made yet)."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "cache"
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(root))
    monkeypatch.setattr(render, "TEMPLATES", tiny.make_templates(tmp_path / "templates"))
    render._environment.cache_clear()
    tiny.forget()
    yield root
    render._environment.cache_clear()
    tiny.forget()


@pytest.fixture
def counted(engine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`engine` with a host compiler that notes its compilations in the folder returned."""
    folder = engine.parent / "tools"
    folder.mkdir()
    monkeypatch.setenv("CXX", str(tiny.wrapper(folder)))
    return folder


@pytest.fixture
def needs_compiler(request: pytest.FixtureRequest) -> None:
    """Skip on a user's machine, and fail in CI, where the compiler of the test's `arch` lacks."""
    tiny.require_compiler(request.getfixturevalue("arch"))
