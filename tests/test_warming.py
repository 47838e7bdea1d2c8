"""prebuild and warmup: what they compile, in how many processes, and how they fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from fake_compiler import compiles, fake_compiler

import wavejit
from wavejit import warming
from wavejit.jit import api, lookup
from wavejit.jit import arch as archs
from wavejit.jit.errors import CompileError, ToolchainError, WavejitError

PLAN = ["compress_plan"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a compiler that compiles nothing; the folder that counts."""
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("arch", [name for name in archs.names() if name.startswith("host")])
@pytest.mark.parametrize("model", warming.MODELS)
def test_prebuild_compiles_once(fake: Path, arch: str, model: str) -> None:
    first = wavejit.prebuild(arch, model=model, jobs=2)
    count = compiles(fake)
    assert len(first) == count > 3
    assert {(event.arch, event.path) for event in first} == {(arch, "compiled")}
    second = wavejit.prebuild(arch, model=model)
    assert compiles(fake) == count
    assert [event.label for event in second] == [event.label for event in first]
    assert {event.path for event in second} == {"cached"}


def test_prebuilt_is_what_a_call_looks_for(fake: Path) -> None:
    wavejit.prebuild("host_w64", kernels=PLAN)
    row = archs.load("host_w64")
    (spec,) = warming.variants("host_w64", kernels=PLAN)["compress_plan"]
    found = lookup.look(spec, row, lookup.compilers(row))
    assert found.state == "cached" and found.size > 1000
    assert api.warm(spec, "host_w64").path == "cached"
    assert compiles(fake) == 1


def test_force_compiles_what_is_cached(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wavejit.prebuild("host_w32", kernels=PLAN)
    monkeypatch.setenv("WAVEJIT_FORCE_COMPILE", "1")
    (event,) = wavejit.prebuild("host_w32", kernels=PLAN)
    assert event.path == "compiled" and compiles(fake) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"model": "big"}, "model: expected one of flash, pro, got 'big'"),
        ({"kernels": ["nope"]}, "kernels: expected one of .*compress_plan.*, got 'nope'"),
        ({"arch": "sm_1"}, "unknown architecture 'sm_1': expected one of .*gfx942"),
        ({"jobs": 0}, "jobs: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        wavejit.prebuild(**{"arch": "host_w32", **arguments})


def test_one_failure_stops_no_other(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(fake, fails_on="kHeadDim = 512")))
    outcomes = warming.build(["host_w32"], jobs=2)
    failed = [outcome for outcome in outcomes if outcome.error]
    assert {"head_dim_512" in outcome.spec.label for outcome in failed} == {True}
    assert {outcome.event.path for outcome in outcomes if outcome.event} == {"compiled"}
    assert 0 < len(failed) < len(outcomes)
    with pytest.raises(CompileError, match="kHeadDim = 512 is refused") as caught:
        wavejit.prebuild("host_w32")
    assert Path(caught.value.folder, "kernel.cuh").is_file()
    assert "refused" in caught.value.log and caught.value.command


def test_a_compiler_that_does_not_run(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(ToolchainError, match=r"install a C\+\+20 compiler"):
        wavejit.prebuild("host_w32")
    assert compiles(fake) == 0


def test_a_killed_build_is_an_error(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "warm", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(WavejitError, match="ended with signal 9; is memory short"):
        wavejit.prebuild("host_w32", kernels=PLAN)
    assert compiles(fake) == 0


def test_builds_run_at_the_same_time(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(spec: object, arch: str) -> api.Event:
        (fake / f"arrived-{os.getpid()}").touch()
        limit = time.monotonic() + 60
        while len(list(fake.glob("arrived-*"))) < 2:
            assert time.monotonic() < limit, "the second build never started"
            time.sleep(0.01)
        return api.Event(str(spec), arch, "compiled", "", 0.0)

    monkeypatch.setattr(warming, "warm", meet)
    assert len(wavejit.prebuild("host_w32", kernels=["c4_compress"], jobs=2)) == 4


def test_default_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "7")
    assert warming.default_jobs() == 7
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv("MAX_JOBS", wrong)
        with pytest.raises(ValueError, match="MAX_JOBS: expected a positive number"):
            warming.default_jobs()
    monkeypatch.delenv("MAX_JOBS")
    assert 1 <= warming.default_jobs() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr(warming, "_free_memory", lambda: 1 << 20)
    assert warming.default_jobs() == 1


def test_nothing_compiles_after_warmup(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wavejit.warmup(device="cpu", kernels=PLAN)
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    before = api.events()
    assert any((event.label, event.arch) == ("compress_plan", host) for event in before)
    slots = torch.tensor([1, 2])
    wavejit.compress_plan_decode(4, slots, slots, scheme=wavejit.RequestRing(8))
    assert api.events() == before


def test_warmup_without_a_cache_compiles_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(api, "_loaded", {})
    wavejit.warmup(device="cpu", kernels=PLAN)
    assert api.events()[-1].path == "private"
