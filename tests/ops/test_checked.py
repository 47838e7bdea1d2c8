"""WAVEJIT_CHECKED: each op reports the indices that it survives, exactly, and its bytes stay."""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import checked_calls
import numpy as np
import pytest
import torch
from checked_build import checked_build, nothing_reported, reported
from checked_calls import SLOTS
from checked_cases import CASES
from compress_world import World
from plan_loop import C_ROW, D_ROW, as_plan, paged_ring

import wavejit
from wavejit import DecodePlan, PrefillPlan
from wavejit.jit.render import TEMPLATES
from wavejit.testing import assert_same_bytes, inputs

sys.path.insert(0, str(Path(__file__).parents[1] / "jit"))
import tiny


def bytes_of(call: Any, device: str, bad: bool) -> list[Any]:
    return [tensor.cpu() for result in call(device, bad) for tensor in pools(result)]


def pools(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


# Every case compiles its kernels once more: on the CPU in one wave width, in turn.
CASES_OF = [(("host_w32", "host_w64")[i % 2], name) for i, name in enumerate(CASES)]
if torch.cuda.is_available():
    CASES_OF += [("gpu", name) for name in CASES]


@pytest.mark.parametrize(("device", "name"), CASES_OF, indirect=["device"])
def test_a_report_and_the_same_bytes(device: str, name: str) -> None:
    """Nothing for legal indices and padding; of others how many, and the first row's value."""
    call, expected = CASES[name]
    before = bytes_of(call, device, False), bytes_of(call, device, True)
    with checked_build():
        with nothing_reported():
            legal = bytes_of(call, device, False)
        with reported() as found:
            bad = bytes_of(call, device, True)
    for one, other in zip([*before[0], *before[1]], [*legal, *bad], strict=True):
        assert_same_bytes(other, one, name)
    said = {(report.kernel, report.index): report for report in found}
    assert len(said) == len(found)
    for (kernel, index), (count, row, value) in expected.items():
        match = [r for (k, i), r in said.items() if i == index and fnmatchcase(k, kernel)]
        assert len(match) == 1, (kernel, index, list(said))
        assert (match[0].count, match[0].row, match[0].value) == (count, row, value), match[0]
    assert len(found) == len(expected), [str(report) for report in found]


WITHOUT_INDICES = {
    "convert_cache",
    "fp8_decode",
    "fp8_encode",
    "rmsnorm_fp8_quant",
    "rope_table",
    "softmax_pool",
}


def test_every_kernel_that_takes_indices_is_among_the_cases() -> None:
    expected = {kernel for _, said in CASES.values() for kernel, _ in said}
    for name in wavejit.kernels():
        text = (TEMPLATES / f"{name}.cuh.j2").read_text()
        launched = re.findall(r"WAVEJIT_(?:KERNEL|RESIDENT)\((\w+)", text)
        covered = any(fnmatchcase(k, kernel) for k in launched for kernel in expected)
        assert covered != (name in WITHOUT_INDICES), name


def test_every_report_is_read_once(device: str) -> None:
    with checked_build():
        for _ in range(2):
            with reported() as found:
                checked_calls.load(device, True)
            assert [report.count for report in found] == [2]
        assert wavejit.index_reports() == []


def test_the_warning_says_which_and_where(device: str) -> None:
    with checked_build(), pytest.warns(wavejit.IndexReport) as caught:
        checked_calls.load(device, True)
    assert caught[0].filename == checked_calls.__file__  # the line that called the op
    where = "cuda:0" if device == "cuda" else "cpu"
    assert str(caught[0].message) == (
        f"load_cache_small on {where}: location: 2 values lie outside, the first in row 3: {SLOTS}"
    )


def test_a_filter_makes_it_an_error(device: str) -> None:
    with checked_build(), nothing_reported():
        with pytest.raises(wavejit.IndexReport, match=r"store_cache_small .* row 2: 200"):
            checked_calls.store(device, True)
        checked_calls.store(device, False)  # it is told once


@pytest.mark.parametrize("ratio", [4, 128])
@pytest.mark.parametrize("paged", [True, False])
def test_requests_that_are_served_report_nothing(device: str, ratio: int, paged: bool) -> None:
    """Chunks, padded chunks and steps of several requests through planner and compressor."""
    ring = 8 if ratio == 4 else 128
    scheme = paged_ring(4, 512, 256, ring, seed=3) if paged else wavejit.RequestRing(ring)
    with checked_build(), nothing_reported():
        world = World(device, ratio=ratio, head_dim=64, scheme=scheme, with_planner=True)
        world.chunk({0: ratio + 3, 2: 2 * ratio})
        world.chunk({2: 5, 1: 3 * ratio}, pad_to=4 * ratio)
        for _ in range(6):
            world.decode([0, 1, 2])


@pytest.mark.parametrize("is_decode", [True, False], ids=["step", "chunk"])
@pytest.mark.parametrize("ratio", [4, 128])
def test_a_plan_row_is_skipped_if_and_only_if_it_is_reported(
    device: str, ratio: int, is_decode: bool
) -> None:
    """Rows of any value, one at a time: what the report calls outside is what the kernel skips."""
    rng = np.random.default_rng(ratio)
    state, kv, ape = checked_calls.state_and_rows(ratio, 1 if is_decode else 2 * ratio, device)
    window = 8 if ratio == 4 else 128
    seen = set()
    with checked_build():
        for _ in range(150):
            pages = rng.integers(-1, 6, 2).tolist()
            if is_decode:
                row = (int(rng.choice([ratio, 2 * ratio, 3, 0])), -1, *pages)
                plan: Any = DecodePlan(ratio, as_plan(np.array([row], D_ROW)).to(device))
                wanted = row[0] % ratio == 0 and row[0] > 0
            else:
                kept = int(rng.choice([0, 1, ratio, window - 1, window, window + 1]))
                last = int(rng.integers(0, 2 * ratio + 1))
                row = (int(rng.choice([ratio, 3 * ratio])), last | kept << 16, *pages)
                empty = torch.zeros(0, 8, dtype=torch.uint8, device=device)
                plan = PrefillPlan(ratio, as_plan(np.array([row], C_ROW)).to(device), empty)
                wanted = True
            out = torch.full((1, 512), -7.0, device=device)
            with reported() as found:
                wavejit.compress(state, kv, ape, plan, head_dim=512, ratio=ratio, out=out)
            skipped = wanted and bool((out == -7.0).all())
            assert bool(found) == skipped, (row, [str(report) for report in found])
            seen.add(skipped)
    assert seen == {True, False}


_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")


@_GPU
def test_a_replayed_graph_reports_when_it_is_asked() -> None:
    layout = checked_calls.LAYOUT
    cache, x = layout.empty(SLOTS, device="cuda"), inputs.normal(1, (6, 512)).bfloat16().cuda()
    loc = torch.arange(6).cuda()
    with checked_build(), nothing_reported():
        wavejit.store_cache(x, cache, loc, layout=layout)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            wavejit.store_cache(x, cache, loc, layout=layout)
        graph.replay()
        assert wavejit.index_reports() == []
        loc[2] = 500
        graph.replay()
        graph.replay()
        (report,) = wavejit.index_reports()
        assert (report.count, report.row, report.value) == (2, 2, 500)
        assert wavejit.index_reports() == []


@_GPU
def test_what_was_not_loaded_cannot_be_captured() -> None:
    """The table is made before a capture: by a call or by load_code, which warmup calls."""
    from wavejit.jit.api import get
    from wavejit.ops import mask_topk_ids

    ids, count = torch.zeros(4, 6, dtype=torch.int32).cuda(), torch.tensor([5]).cuda()
    with checked_build():
        module = get(mask_topk_ids.spec(), wavejit.arch.detect("cuda"))
        tables = module._reports._tables  # type: ignore[union-attr]
        kept = dict(tables)
        tables.clear()
        graph = torch.cuda.CUDAGraph()
        with pytest.raises(Exception, match="cannot be captured"), torch.cuda.graph(graph):
            module.run(ids, count, 0)
        tables.update(kept)
        module.load_code(torch.cuda.current_device())
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            module.run(ids, count, 0)


@pytest.mark.parametrize("device", ["gfx942"], indirect=True)
@pytest.mark.parametrize("name", ["store", "routing", "plan-chunk", "c4-chunk"])
def test_the_compiled_code_of_a_gpu_reports(device: str, name: str) -> None:
    tiny.require_compiler("gfx942")
    test_a_report_and_the_same_bytes(device, name)
