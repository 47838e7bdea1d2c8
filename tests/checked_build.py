"""Checked builds (WAVEJIT_CHECKED=1) beside the others in one process, for tests."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import wavejit


@contextmanager
def unprepared() -> Iterator[None]:
    """Inside, every op asks for its kernel anew; what it had found is there again afterwards."""
    prepared = [
        module._ready
        for name, module in list(sys.modules.items())
        if name.startswith("wavejit.") and isinstance(getattr(module, "_ready", None), dict)
    ]
    before = [dict(ready) for ready in prepared]
    for ready in prepared:
        ready.clear()
    try:
        yield
    finally:
        for ready, kept in zip(prepared, before, strict=True):
            ready.clear()
            ready.update(kept)


@contextmanager
def checked_build() -> Iterator[None]:
    """Inside, every op uses a checked kernel; users set the variable before the process starts."""
    with pytest.MonkeyPatch.context() as patch, unprepared():
        patch.setenv("WAVEJIT_CHECKED", "1")
        yield


@contextmanager
def reported() -> Iterator[list[Any]]:
    """What checked kernels report inside the block."""
    found: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [entry.message for entry in caught if isinstance(entry.message, wavejit.IndexReport)]


@contextmanager
def nothing_reported() -> Iterator[None]:
    """A report inside the block is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", wavejit.IndexReport)
        yield
