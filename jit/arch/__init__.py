"""The architectures: one TOML table each, and which one a device is."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from wavejit.jit import env
from wavejit.jit.errors import ArchError
from wavejit.jit.spec import Arch

_FOLDER = Path(__file__).parent
DEFAULT_HOST = "host_w32"
_host: str | None = None  # the architecture of CPU tensors, once it has been asked for


@cache
def names() -> tuple[str, ...]:
    """Every architecture's name, sorted."""
    return tuple(sorted(n[:-5] for n in os.listdir(_FOLDER) if n.endswith(".toml")))


@cache
def load(name: str) -> Arch:
    """The architecture called `name`; an unknown one is an `ArchError`."""
    try:
        if not name.isidentifier():
            raise FileNotFoundError(name)
        with open(f"{_FOLDER}/{name}.toml", "rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        known = ", ".join(names())
        raise ArchError(f"unknown architecture {name!r}: expected one of {known}") from None
    return Arch(name=name, **{**table, "flags": tuple(table["flags"])})


def host() -> str:
    """The architecture that CPU tensors use: `using()`, else WAVEJIT_ARCH at the first use."""
    global _host
    if _host is None:
        _host = _checked_host(env.text("WAVEJIT_ARCH") or DEFAULT_HOST)
    return _host


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run CPU tensors on `name` (host_w32 or host_w64) for the duration of a `with` block."""
    global _host
    before, _host = _host, _checked_host(name)
    try:
        yield
    finally:
        _host = before


def _checked_host(name: str) -> str:
    arch = load(name)
    if arch.target == "host":
        return name
    if env.text("WAVEJIT_ARCH") == name:  # a GPU's name there says nothing about CPU tensors
        return DEFAULT_HOST
    raise ArchError(f"{name} cannot run tensors of the CPU: expected host_w32 or host_w64")


def detect(device: Any = None) -> str:
    """The architecture's name of `device` (a torch device, tensor or None for the current one).

    Without a GPU, or for a CPU device, it is `host()`. An unknown chip, or a `WAVEJIT_ARCH` that
    names another GPU than the device, is an `ArchError`.
    """
    import torch

    device = getattr(device, "device", device)
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(device)
    wanted = env.text("WAVEJIT_ARCH")
    if device.type == "cpu":
        return host()
    if device.type != "cuda":
        raise ArchError(f"device {device}: expected a cpu, CUDA or ROCm device")
    name = _gpu_name(torch.cuda, device)
    if name not in names():
        known = ", ".join(n for n in names() if load(n).is_gpu)
        raise ArchError(f"{device} is a {name}, which has no table in jit/arch: known are {known}")
    if wanted and load(wanted).is_gpu and wanted != name:
        raise ArchError(f"WAVEJIT_ARCH={wanted}, but {device} is a {name}: unset it or move")
    return name


def _gpu_name(cuda: Any, device: Any) -> str:
    import torch

    if torch.version.hip:
        return str(cuda.get_device_properties(device).gcnArchName).split(":")[0]
    major, minor = cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
