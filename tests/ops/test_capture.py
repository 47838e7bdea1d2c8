"""Graphs on a GPU: what `warmup` has loaded is captured in its first call and replays as eager."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import wavejit
from wavejit.layouts import FlashMLA
from wavejit.testing import assert_same_bytes, inputs

_FIRST_CALL_IS_CAPTURED = """
import torch, wavejit
from wavejit.ops import c4_compress, compress_plan
from wavejit.warming import load_here

DIM, TOKENS = 512, 24
load_here([compress_plan.spec(), c4_compress.spec(DIM, "float", "float", "float")], None)
ring = wavejit.RequestRing(8)
generator = torch.Generator().manual_seed(1)
def draw(*shape): return torch.randn(*shape, generator=generator).cuda()
kv, step, ape = draw(TOKENS, 4 * DIM), draw(1, 4 * DIM), draw(8, DIM)
request, length = torch.zeros(1, dtype=torch.int64).cuda(), torch.tensor([TOKENS]).cuda()
after = length + 4  # the next step that ends a group

def run(state, rows, row):
    plan = wavejit.compress_plan_prefill(
        4, request, length, length, scheme=ring, num_q_tokens=TOKENS)
    wavejit.compress(state, kv, ape, plan, head_dim=DIM, ratio=4, out=rows)
    plan = wavejit.compress_plan_decode(4, request, after, scheme=ring)
    wavejit.compress(state, step, ape, plan, head_dim=DIM, ratio=4, out=row)

def tensors():
    return [torch.zeros(*s).cuda() for s in ((4, 4, 4 * DIM), (TOKENS, DIM), (1, DIM))]

captured = tensors()
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    run(*captured)
for _ in range(2):
    for tensor in captured: tensor.zero_()
    kv.add_(1.0)
    graph.replay()
    eager = tensors()
    run(*eager)
    torch.cuda.synchronize()
    assert eager[2].abs().sum() > 0 and eager[1][:TOKENS // 4].abs().sum() > 0
    for one, other in zip(captured, eager):
        assert torch.equal(one, other)
print("equal")
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
def test_the_first_call_after_loading_can_be_captured() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL_IS_CAPTURED], capture_output=True, text=True, timeout=300
    )
    assert run.stdout.strip() == "equal", run.stderr


def _c128_chain(state: torch.Tensor, online: torch.Tensor, given: dict[str, torch.Tensor]) -> list:
    """Plans and compressors of ratio 128, both forms, and a pooling: every output."""
    ring, dim = wavejit.RequestRing(128), 64
    slots, seqs, extends = (given[name] for name in ("slots", "seqs", "extends"))
    kv, ape = given["kv"], given["ape"]
    options: dict = {"head_dim": dim}
    plan = wavejit.compress_plan_prefill(
        128, slots, seqs, extends, scheme=ring, num_q_tokens=len(kv)
    )
    outs = [torch.zeros(len(kv), dim, device="cuda") for _ in range(2)]
    outs += [torch.zeros(len(slots), dim, device="cuda") for _ in range(2)]
    wavejit.compress(state, kv, ape, plan, ratio=128, out=outs[0], **options)
    segments = wavejit.compress_online_plan_prefill(slots, seqs, extends, num_q_tokens=len(kv))
    wavejit.compress_online(online, kv, ape, segments, out=outs[1], **options)
    after, rows = seqs + 1, kv[: len(slots)]
    plan = wavejit.compress_plan_decode(128, slots, after, scheme=ring)
    wavejit.compress(state, rows, ape, plan, ratio=128, out=outs[2], **options)
    step = wavejit.compress_online_plan_decode(slots, after)
    wavejit.compress_online(online, rows, ape, step, out=outs[3], **options)
    outs.append(wavejit.softmax_pool(kv[:128].view(1, 128, 2 * dim), dim))
    return outs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
def test_c128_replays_as_eager() -> None:
    """Captured once; replayed with new contents and fewer real tokens than the bucket has."""

    def pools() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(5, 128, 128, device="cuda"), torch.ones(5, 192, device="cuda")

    def batch(turn: int) -> dict[str, torch.Tensor]:
        seqs = torch.tensor(([383, 127, 9], [255, 127, 130], [300, 1, 0])[turn])
        extends = torch.tensor(([290, 100, 9], [200, 30, 2], [50, 1, 0])[turn])
        found = {"slots": torch.tensor([1, 3, 2]), "seqs": seqs, "extends": extends}
        found["kv"] = inputs.normal(turn, (400, 128))
        found["ape"] = inputs.normal(9, (128, 64))
        return {name: tensor.cuda() for name, tensor in found.items()}

    given = batch(0)
    _c128_chain(*pools(), given)  # loads and compiles
    state, online = pools()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = _c128_chain(state, online, given)
    for turn in range(3):
        for name, tensor in batch(turn).items():
            given[name].copy_(tensor)
        for tensor in (state, online):
            tensor.fill_(1)
        graph.replay()
        eager_pools = pools()
        eager = _c128_chain(*eager_pools, given)
        torch.cuda.synchronize()
        pairs = zip([*captured, state, online], [*eager, *eager_pools], strict=True)
        for i, (one, other) in enumerate(pairs):
            assert_same_bytes(one, other, f"turn {turn}, tensor {i}")
        assert eager[0].abs().sum() > 0 or turn == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("ratio", [4, 128])
def test_compress_store_replays_as_eager(ratio: int) -> None:
    """A step and a chunk captured once; replayed with new contents and fewer real rows."""
    layout, dim = FlashMLA(64, "fn"), 512
    width, window = (4 * dim, 8) if ratio == 4 else (2 * dim, 128)
    ring, tokens, requests = wavejit.RequestRing(2 * ratio), 3 * ratio + 40, 3
    capacity = tokens + 100
    weight = inputs.normal(1, (dim,)).cuda()
    angles, ape = inputs.uniform(2, (900, 64), -1, 1).cuda(), inputs.normal(3, (window, dim)).cuda()

    def batch(turn: int) -> dict[str, torch.Tensor]:
        seqs = torch.tensor(((3 * ratio - 1, ratio - 1, 7), (2 * ratio - 1, 5, 6), (9, 2, 0))[turn])
        extends = torch.tensor(((2 * ratio, ratio - 1, 7), (ratio, 5, 2), (5, 1, 0))[turn])
        locs = inputs.permutation(turn + 4, capacity)[:tokens]
        locs[turn::7] = -1
        given = {"slots": torch.tensor([2, 0, 1]), "seqs": seqs, "extends": extends, "locs": locs}
        given["kv"] = inputs.normal(turn + 20, (tokens, width))
        return {name: tensor.cuda() for name, tensor in given.items()}

    def fresh() -> tuple[torch.Tensor, torch.Tensor]:
        state = inputs.normal(9, (2 * requests, ratio, width)).cuda()
        return state, layout.empty(capacity, device="cuda")

    def run(state: torch.Tensor, cache: torch.Tensor, given: dict[str, torch.Tensor]) -> None:
        slots, seqs, extends, locs, kv = (given[name] for name in given)
        store = {
            "norm_weight": weight,
            "eps": 1e-6,
            "freqs_cis": angles,
            "cache": cache,
            "layout": layout,
            "ratio": ratio,
            "head_dim": dim,
        }
        plan = wavejit.compress_plan_prefill(
            ratio, slots, seqs, extends, scheme=ring, num_q_tokens=tokens
        )
        wavejit.compress_store(state, kv, ape, plan, out_loc=locs, **store)
        plan = wavejit.compress_plan_decode(ratio, slots, seqs + 1, scheme=ring)
        wavejit.compress_store(state, kv[:requests], ape, plan, out_loc=locs[-requests:], **store)

    given = batch(0)
    run(*fresh(), given)  # loads and compiles
    captured = fresh()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(*captured, given)
    for turn in range(3):
        for name, tensor in batch(turn).items():
            given[name].copy_(tensor)
        for target, source in zip(captured, fresh(), strict=True):
            target.copy_(source)
        graph.replay()
        eager = fresh()
        run(*eager, given)
        torch.cuda.synchronize()
        assert eager[1].any() or turn == 2
        for one, other in zip(captured, eager, strict=True):
            assert_same_bytes(one, other, f"turn {turn}")
