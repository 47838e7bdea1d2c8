"""Graphs on a GPU: what `warmup` has loaded is captured in its first call and replays as eager."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

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
