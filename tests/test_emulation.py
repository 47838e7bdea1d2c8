"""Emulation as a target: the shipped gfx942 and gfx950 code on CPU tensors gives the same bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import wavejit
from wavejit import cli, gcn
from wavejit.jit import arch as archs
from wavejit.jit.errors import ArchError
from wavejit.testing import parity, traces

sys.path.insert(0, str(Path(__file__).parent / "jit"))
import tiny

ARCHES = archs.EMULATED


@pytest.fixture(autouse=True)
def _compiler() -> None:
    tiny.require_compiler("gfx942")


@pytest.fixture(params=ARCHES)
def arch(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def plan() -> Any:
    lengths = torch.tensor([4, 8, 5])
    return wavejit.compress_plan_decode(
        4, torch.tensor([0, 1, 2]), lengths, scheme=wavejit.RequestRing(8)
    )


def compress(pool: torch.Tensor, given: torch.Tensor, ape: torch.Tensor) -> torch.Tensor:
    rows: torch.Tensor = wavejit.compress(pool, given, ape, plan(), head_dim=128, ratio=4)
    return rows


@pytest.mark.parametrize("group", sorted(parity.groups()))
def test_the_bytes_are_the_golden_ones_and_the_work_is_the_kept_one(arch: str, group: str) -> None:
    """One run for both: every case's digest, and what it executed."""
    digests, found = {}, {}
    for case in sorted(parity.groups()[group]):
        with wavejit.emulate(arch) as run:
            digests[case] = parity.run(case)
        found[case] = {kernel: trace.row() for kernel, trace in sorted(run.traces.items())}
    assert digests == {case: parity.golden()[case] for case in digests}
    table = traces.kept(group)
    if table["compiler"] == traces.compiler():
        update = f"python -m wavejit.testing.traces --update {group}, and say why"
        assert not traces.differences({arch: found}, table), update
        return
    for case, kernels in table[arch].items():  # another compiler's code is about the same work
        for kernel, row in kernels.items():
            ours = found[case][kernel]
            assert ours["instructions"] == pytest.approx(row["instructions"], rel=0.25)
            assert ours["bytes_loaded"] == pytest.approx(row["bytes_loaded"], rel=0.1)


@pytest.mark.parametrize("perturb", [-1, 1])
def test_results_do_not_lean_on_approximate_instructions(perturb: int) -> None:
    """The compressors and their plans. 64-bit integers that are divided by a number known only at
    run time are outside of this: docs/emulation.md."""
    cases = sorted(parity.groups()["compressors"])
    with wavejit.emulate("gfx942", perturb=perturb):
        found = {case: parity.run(case) for case in cases}
    assert found == {case: parity.golden()[case] for case in cases}


def test_it_is_the_interpreter_that_runs(arch: str) -> None:
    before = archs.host()
    with wavejit.emulate(arch) as run:
        assert archs.host() == arch == archs.detect(torch.zeros(1))
        plan()
    assert archs.host() == before
    trace = run.traces["decode_plan"]
    assert trace.blocks == 1 and trace.waves == trace.kinds["other"]
    assert trace.bytes_stored == 3 * 16


def test_as_a_decorator() -> None:
    emulation = wavejit.emulate("gfx950")
    rows = emulation(plan)().plan_d
    assert "decode_plan" in emulation.traces
    assert torch.equal(rows, plan().plan_d)


def test_without_emulation_a_gpu_library_refuses_cpu_tensors() -> None:
    """Also after emulation was used: the same library serves both."""
    with wavejit.emulate("gfx942"):
        plan()
    assert archs.host() in ("host_w32", "host_w64")
    with pytest.raises(ArchError, match=r"expected gfx942 or gfx950.*got 'sm_90'"):
        wavejit.emulate("sm_90")
    with pytest.raises(ValueError, match="perturb: expected -1, 0 or 1"):
        wavejit.emulate(perturb=2)


def test_the_environment_asks_for_it_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEJIT_ARCH", "gfx950")
    for has_gpu, host in ((False, "gfx950"), (True, "host_w32")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has=has_gpu: has)
        monkeypatch.setattr(archs, "_host", None)
        assert archs.host() == host
        assert plan().plan_d.shape == (3, 16)
    monkeypatch.setattr(archs, "_host", None)


def test_only_the_calls_tensors_are_memory() -> None:
    """A pool that is shorter than the kernel was told: found by place, kernel and source line."""
    with wavejit.emulate("gfx942"):
        from wavejit.emulation import emulated
        from wavejit.ops import c4_compress

        spec = c4_compress.spec(128, "float", "float", "float")
        module = emulated(spec, "gfx942")
        pool, given = torch.zeros(8, 4, 512), torch.ones(3, 512)
        ape, out = torch.zeros(8, 128), torch.zeros(3, 128)
        before = module._runtime.machine_memory
        module._runtime.machine_memory = lambda: [m for m in before() if "[8, 4, 512]" not in m[2]]
        with pytest.raises(gcn.OutOfBounds) as caught:
            module.decode(pool, given, ape, plan().bound, out)
        module._runtime.machine_memory = before
        module.decode(pool, given, ape, plan().bound, out)
    error = caught.value
    assert error.kernel.startswith("c4_decode") and error.instruction.startswith("global_")
    assert error.source and error.source.startswith(("templates/c4_compress", "include/wavejit/"))
    assert error.lanes and error.block[1:] == (0, 0)
    for part in (error.kernel, error.instruction, error.source, "block (", "wave ", "lanes "):
        assert part in str(error)


def test_wrong_arguments_are_the_librarys_own_errors() -> None:
    pool, given, ape = torch.zeros(8, 4, 512), torch.ones(3, 512), torch.zeros(8, 128)
    with wavejit.emulate("gfx942"):
        compress(pool, given, ape)
        with pytest.raises(ValueError, match="kv_input: wrong shape"):
            compress(pool, given[:, :100].contiguous(), ape)
        with pytest.raises(TypeError, match="ape: wrong dtype"):
            compress(pool, given, ape.double())


def test_trace_prints_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["trace", "compress_plan", "--case", "plan-decode-r4-g8-paged"]
    assert cli.main([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["kernel"] == "decode_plan" and row["instructions"] > 100
    kinds = sum(row[kind] for kind in gcn.report.KINDS)
    assert kinds == row["instructions"] and 0 < row["coalescing"] <= 1
    assert cli.main([*command, "--lines", "3", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert len(lines) == 3 and any(".cuh" in line["line"] for line in lines)
    assert cli.main(["trace", "nothing"]) == 1
    assert "kernel: expected one of" in capsys.readouterr().err


def test_parity_has_a_column(
    arch: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "cases", lambda: ["plan-decode-r4-g8-paged"])
    assert cli.main(["parity", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["agree"] and row[arch] == row["host_w32"] == row["host_w64"]
