"""The architectures' tables, and which of them a device is."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import wavejit
from wavejit.jit import arch as archs
from wavejit.jit.errors import ArchError

WAVES = {
    "host_w32": 32,
    "host_w64": 64,
    "sm_80": 32,
    "sm_90": 32,
    "sm_100": 32,
    "sm_120": 32,
    "gfx90a": 64,
    "gfx942": 64,
    "gfx950": 64,
    "gfx1100": 32,
    "gfx1201": 32,
}


def test_the_architectures_are_these() -> None:
    assert {name: archs.load(name).wave_size for name in archs.names()} == WAVES


@pytest.mark.parametrize("name", WAVES)
def test_a_table_is_complete_and_sane(name: str) -> None:
    row = archs.load(name)
    assert dataclasses.is_dataclass(row) and row.name == name
    assert row.target == {"h": "host", "s": "cuda", "g": "hip"}[name[0]]
    assert row.is_gpu == (row.target != "host")
    assert row.fp8_flavour == ("fnuz" if name == "gfx942" else row.fp8_flavour)
    assert (
        row.shared_memory_bytes >= 65536
        and row.vector_bytes in (16, 32)
        and row.max_threads == 1024
    )
    assert row.programmatic_launch == (name in ("sm_90", "sm_100", "sm_120"))
    assert row.programmatic_launch == (row.cluster_blocks >= 8)
    assert (len(row.flags) > 0) == row.is_gpu
    assert not row.is_gpu or name.split("_")[-1].removeprefix("gfx") in " ".join(row.flags)


@pytest.mark.parametrize("name", ["", "sm_91", "../arch/host_w32", "host_w32.toml", "GFX942"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ArchError, match=r"expected one of gfx1100, .*sm_90"):
        archs.load(name)


def test_using_nests_and_restores() -> None:
    before = archs.host()
    with wavejit.arch.using("host_w64"):
        assert archs.host() == archs.detect(torch.zeros(1)) == "host_w64"
        with wavejit.arch.using("host_w32"):
            assert archs.host() == "host_w32"
        assert archs.host() == "host_w64"
    assert archs.host() == before
    with pytest.raises(ArchError, match="expected host_w32 or host_w64"), archs.using("sm_90"):
        pass
    assert archs.host() == before


@pytest.mark.parametrize(
    ("value", "host"),
    [("", "host_w32"), ("host_w64", "host_w64"), ("sm_90", "host_w32"), ("gfx90a", "host_w32")],
)
def test_the_variable_chooses_for_cpu_tensors(
    value: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEJIT_ARCH", value)
    monkeypatch.setattr(archs, "_host", None)
    assert archs.host() == host
    monkeypatch.setenv("WAVEJIT_ARCH", "host_w16")
    monkeypatch.setattr(archs, "_host", None)
    with pytest.raises(ArchError, match="host_w16"):
        archs.host()


class Gpus:
    """What torch.cuda would say of one chip."""

    def __init__(self, gcn: str = "", capability: tuple[int, int] = (0, 0)) -> None:
        self.gcn, self.capability = gcn, capability

    def is_available(self) -> bool:
        return True

    def get_device_properties(self, _: Any) -> Any:
        return SimpleNamespace(gcnArchName=self.gcn)

    def get_device_capability(self, _: Any) -> tuple[int, int]:
        return self.capability


@pytest.mark.parametrize(
    ("gcn", "capability", "name"),
    [
        ("gfx942:sramecc+:xnack-", (9, 4), "gfx942"),
        ("gfx90a:sramecc+:xnack-", (9, 0), "gfx90a"),
        ("gfx1201", (12, 0), "gfx1201"),
        ("", (9, 0), "sm_90"),
        ("", (12, 0), "sm_120"),
    ],
)
def test_a_device_is_recognised(
    gcn: str, capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(gcn, capability))
    monkeypatch.setattr(torch.version, "hip", "7.0" if gcn else None)
    assert archs.detect("cuda:0") == archs.detect() == name
    assert archs.detect("cpu") == archs.host()
    monkeypatch.setenv("WAVEJIT_ARCH", name)
    assert archs.detect("cuda:0") == name
    monkeypatch.setenv("WAVEJIT_ARCH", "sm_100")
    with pytest.raises(ArchError, match=f"WAVEJIT_ARCH=sm_100, but cuda:0 is a {name}"):
        archs.detect("cuda:0")


def test_an_unknown_chip_or_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(capability=(7, 5)))
    with pytest.raises(ArchError, match=r"cuda:0 is a sm_75.*known are .*sm_90"):
        archs.detect("cuda:0")
    with pytest.raises(ArchError, match="meta: expected a cpu, CUDA or ROCm device"):
        archs.detect("meta")
