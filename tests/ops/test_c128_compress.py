"""The c128 compressor's values and state against the definition in compress_world.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from compress_world import World, entry, random_ape, random_rows

import wavejit
from wavejit.testing import assert_same_bytes, inputs

FP32, BF16 = torch.float32, torch.bfloat16
STATES = [FP32, BF16]


def pages(ring: int = 128, *, max_len: int = 1024, slots: int = 4) -> Any:
    return plan_loop.paged_ring(slots, max_len, 256, ring, seed=3)


def world(device: str, **options: Any) -> World:
    return World(device, ratio=128, **{"head_dim": 64, **options})


@pytest.mark.parametrize("head_dim, state", [(512, FP32), (512, BF16), (128, FP32), (128, BF16)])
def test_what_servers_run(device: str, head_dim: int, state: Any) -> None:
    """Chunks that start and end anywhere, then steps over the end of a group."""
    here = world(device, head_dim=head_dim, state=state)
    assert here.chunk({3: 256, 0: 100, 1: 129, 2: 383}).shape == (5, head_dim)
    here.chunk({2: 1, 1: 3, 3: 5, 0: 27}, pad_to=40)
    for _ in range(3):
        here.decode([0, 1, 2, 3])
    assert [sorted(entries) for entries in here.entries] == [
        [128],
        [128],
        [128, 256, 384],
        [128, 256],
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("prefix", [0, 1, 127, 128, 200, 256])
@pytest.mark.parametrize("extend", [1, 128, 256])
def test_prefill_after_a_prefix(device: str, state: Any, prefix: int, extend: int) -> None:
    for scheme in (pages(), pages(256), wavejit.RequestRing(128), wavejit.RequestRing(256)):
        here = world(device, state=state, scheme=scheme)
        if prefix:
            here.chunk({1: prefix})
        out = here.chunk({1: extend, 2: 130})
        assert len(out) == (prefix + extend) // 128 - prefix // 128 + 1


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", [pages(), pages(256), wavejit.RequestRing(256), None])
def test_decode_over_the_end_of_a_group(device: str, state: Any, scheme: Any) -> None:
    here = world(device, state=state, scheme=scheme)
    here.chunk({0: 126, 1: 255, 2: 381, 3: 1})
    for _ in range(4):
        here.decode([3, 0, 2, 1])
    assert [len(entries) for entries in here.entries] == [1, 2, 3, 0]


def test_many_requests(device: str) -> None:
    """Steps and chunks of more entries than the launches for small batches take, some skipped."""
    slots = 530
    here = world(device, slots=slots)
    everyone = inputs.permutation(slots, slots).tolist()
    rows = random_rows(64, 128)
    count = sum(124 + slot % 9 for slot in everyone)
    picked = rows[torch.arange(count) % 2048]
    here.chunk({slot: 124 + slot % 9 for slot in everyone}, rows=picked, pad_to=count + 9)
    for _ in range(2):
        here.decode(everyone)


def test_five_thousand_requests(device: str) -> None:
    """One step in which every seventh request ends its group."""
    count, dim = 5000, 64
    seqs = torch.where(torch.arange(count) % 7 == 0, 128, 1 + torch.arange(count) % 127)
    pool = inputs.normal(1, (64, 128, 2 * dim)).repeat(79, 1, 1)[: count + 1].contiguous()
    given, ape = inputs.normal(2, (count, 2 * dim)), random_ape(dim, 128)
    plan = wavejit.compress_plan_decode(
        128, torch.arange(count).to(device), seqs.to(device), scheme=wavejit.RequestRing(128)
    )
    state, out = pool.to(device), torch.full((count, dim), -77.0, device=device)
    arguments = (given.to(device), ape.to(device), plan)
    wavejit.compress(state, *arguments, head_dim=dim, ratio=128, out=out)
    pool.view(-1, 2 * dim)[torch.arange(count) * 128 + seqs - 1] = given
    assert_same_bytes(state, pool, "state")
    out = out.cpu()
    assert (out[seqs != 128] == -77).all()
    window = pool[:-1][seqs == 128].double()
    weights = torch.softmax(window[..., dim:] + ape.double(), dim=1)
    expected = (weights * window[..., :dim]).sum(dim=1)
    torch.testing.assert_close(out[seqs == 128].double(), expected, rtol=2e-5, atol=2e-5)


DTYPES = [(FP32, FP32, BF16), (FP32, BF16, BF16), (BF16, BF16, BF16), (BF16, FP32, FP32)]


@pytest.mark.parametrize("state, input, output", DTYPES)
def test_dtypes_and_the_reference(device: str, state: Any, input: Any, output: Any) -> None:
    """Every combination of ring, input and output; the library's reference says the same."""
    options = {"state": state, "input": input, "output": output, "with_reference": True}
    here = world(device, head_dim=192, scheme=pages(256), **options)
    here.chunk({0: 3, 1: 130, 2: 256})
    here.chunk({1: 127, 0: 126}, pad_to=300)
    for _ in range(3):
        here.decode([2, 0])


@pytest.mark.parametrize("input", [FP32, BF16])
def test_rows_that_lie_apart(device: str, input: Any) -> None:
    plain, apart = (world(device, input=input) for _ in range(2))
    stride = 2 * 64 + 36
    first = plain.chunk({0: 255, 2: 127})
    assert_same_bytes(apart.chunk({0: 255, 2: 127}, row_stride=stride), first, "prefill")
    step = plain.decode([2, 0])
    assert_same_bytes(apart.decode([2, 0], row_stride=stride), step, "decode")


def test_wide_plans_give_the_same_bytes(device: str) -> None:
    narrow, wide = (world(device) for _ in range(2))
    for extends in ({0: 300, 1: 5}, {1: 123, 0: 90}):
        assert_same_bytes(wide.chunk(extends, wide=True), narrow.chunk(extends), "out")


def test_two_hundred_thousand_tokens(device: str) -> None:
    """One chunk with wide ragged ids: first and last entries, and the rows behind them."""
    tokens, rows = 200_000, random_rows(64, 128)
    given = rows[torch.arange(tokens) % 2048].to(device)
    ring, slot = wavejit.RequestRing(128), torch.zeros(1, dtype=torch.int64, device=device)
    lengths = torch.tensor([tokens])
    plan = wavejit.compress_plan_prefill(
        128, slot, lengths, lengths, scheme=ring, num_q_tokens=tokens
    )
    state, ape = torch.zeros(1, 128, 128, device=device), random_ape(64, 128)
    out = wavejit.compress(state, given, ape.to(device), plan, head_dim=64, ratio=128).cpu()
    assert out.shape == (tokens // 128, 64)
    for i in range(16):  # the rows repeat every 2,048 tokens
        value, scale = entry(rows[128 * i : 128 * i + 128].double().numpy(), ape.double().numpy())
        assert (np.abs(out[i].numpy() - value) <= 2e-5 * scale).all(), i
    for i in range(16, len(out)):
        assert_same_bytes(out[i], out[i % 16], f"entry {i}")
    rest = tokens % 128
    assert_same_bytes(state[0, :rest], given[-rest:], "state")
    assert (state[0, rest:] == 0).all()


def test_writes_of_a_chunk_do_not_reach_its_own_reads(device: str) -> None:
    """Compress first, write second: the last rows go where the first entry reads."""
    here = world(device)
    here.chunk({1: 100})
    here.chunk({1: 128})
    here = world(device, scheme=wavejit.RequestRing(256))
    for extend in (5, 251, 133, 47):
        here.chunk({0: extend, 3: extend + 1})


def test_fifty_runs_give_the_same_bytes(device: str) -> None:
    """Blocks in any order, several entries a block: nothing races."""
    count, ring = 520, wavejit.RequestRing(128)
    pool = inputs.normal(1, (count, 128, 128)).to(device)
    given, ape = inputs.normal(2, (count, 128)).to(device), random_ape(64, 128).to(device)
    slots = inputs.permutation(3, count)
    lengths = torch.where(torch.arange(count) % 9 == 0, 5, 128)
    plan = wavejit.compress_plan_decode(128, slots.to(device), lengths.to(device), scheme=ring)
    first = None
    for _ in range(50 if device == "cuda" else 3):
        state, out = pool.clone(), torch.zeros(count, 64, device=device)
        wavejit.compress(state, given, ape, plan, head_dim=64, ratio=128, out=out)
        first = first or (out.cpu(), state.cpu())
        assert_same_bytes(out, first[0], "out")
        assert_same_bytes(state, first[1], "state")


# -- special values ------------------------------------------------------------------------------


def one_window(device: str, values: Any, scores: Any) -> Any:
    """The entry of one request of 128 tokens, prefilled and decoded; each column is a case."""
    rows = torch.cat((values, scores), dim=1).to(device)
    ape = torch.zeros(128, 64, device=device)
    ring = wavejit.RequestRing(128)
    options = {"head_dim": 64, "ratio": 128}
    plan = plan_loop.prefill_plan(device, [0], [128], [128], ring, ratio=128)
    state = torch.zeros(1, 128, 128, device=device)
    out = wavejit.compress(state, rows, ape, plan, **options).cpu()
    state[0, :127] = rows[:127]
    plan = plan_loop.decode_plan(device, [0], [128], ring, ratio=128)
    step = wavejit.compress(state, rows[127:], ape, plan, **options)
    assert_same_bytes(step, out, "decode against prefill")
    return out[0]


INF, MAX = float("inf"), torch.finfo(FP32).max


@pytest.mark.parametrize(
    "scores, values, expected",
    [
        ([-INF] * 128, [3.0] * 128, 0.0),  # everything masked
        ([-MAX] * 128, [3.0] * 128, 3.0),  # a score that a request may have
        ([*[-INF] * 127, -MAX], [*[9.0] * 127, 3.0], 3.0),
        ([*[-INF] * 100, 0.0, *[-INF] * 27], [*[9.0] * 100, 2.5, *[9.0] * 27], 2.5),
        ([MAX] * 128, [3.0] * 128, 3.0),
        ([MAX, *[-MAX] * 127], [3.0, *[9.0] * 127], 3.0),
        ([*[-200.0] * 17, 0.0, *[-200.0] * 110], [*[9.0] * 17, 3.0, *[9.0] * 110], 3.0),
        ([0.0] * 128, [2.0**-126] * 128, 2.0**-126),
        ([0.0] * 128, [*[1.0] * 77, INF, *[1.0] * 50], INF),
    ],
)
def test_special_values(
    device: str, scores: list[float], values: list[float], expected: float
) -> None:
    columns = (torch.tensor(row)[:, None].expand(128, 64) for row in (values, scores))
    assert_same_bytes(one_window(device, *columns), torch.full((64,), expected), "out")


@pytest.mark.parametrize("place", [0, 3, 15, 16, 64, 127])
@pytest.mark.parametrize("what", ["score", "value", "infinite score"])
def test_nan_is_the_one_quiet_nan(device: str, place: int, what: str) -> None:
    strange = torch.tensor([0x7FA12345, -0x2B3DD])  # a signalling and a negative one
    values, scores = torch.ones(128, 64), torch.zeros(128, 64)
    for channel in (0, 5, 63):
        nan = strange[channel % 2].int().view(FP32)
        (values if what == "value" else scores)[place, channel] = (
            INF if what == "infinite score" else nan
        )
    expected = torch.full((64,), 0x3F800000, dtype=torch.int32)
    expected[[0, 5, 63]] = 0x7FC00000
    assert_same_bytes(one_window(device, values, scores).view(torch.int32), expected)


def test_every_candidate_counts(device: str) -> None:
    """A candidate that alone has weight is the entry, wherever it lies."""
    for place in range(128):
        values = inputs.normal(place, (128, 64))
        scores = torch.full((128, 64), -100.0)
        scores[place] = 5.0
        assert_same_bytes(one_window(device, values, scores), values[place], f"candidate {place}")


def test_the_sentinel_has_no_weight(device: str) -> None:
    pool = wavejit.CompressStatePool(
        256, ratio=128, head_dim=64, swa_page_size=256, ring_size=128, device=device
    )
    row = torch.zeros(1, 128)
    row[0, :64] = 2.5
    plan = plan_loop.decode_plan(device, [1], [128], wavejit.RequestRing(128), ratio=128)
    ape = torch.zeros(128, 64, device=device)
    out = wavejit.compress(pool.kv_buffer, row.to(device), ape, plan, head_dim=64, ratio=128)
    assert_same_bytes(out, torch.full((1, 64), 2.5))


def _random_bits(device: str) -> tuple[Any, Any]:
    """All of fp32 through a prefill and a decode step with a bf16 ring: outputs and state."""
    ring, options = wavejit.RequestRing(128), {"head_dim": 64, "ratio": 128}
    state = inputs.any_float(1, (3, 128, 128)).to(BF16).to(device)
    state[:, :, 32:64] = 1
    rows = inputs.any_float(3, (200, 128)).to(device)
    rows[:, 32:64] = 1
    rows[:, 64:96] = inputs.normal(4, (200, 32)).to(device)
    ape = inputs.normal(2, (128, 64)).to(device)
    plan = plan_loop.prefill_plan(device, [0, 1], [170, 139], [61, 139], ring, ratio=128)
    outs = [wavejit.compress(state, rows, ape, plan, **options).cpu()]
    plan = plan_loop.decode_plan(device, [0, 1], [256, 256], ring, ratio=128)
    outs.append(wavejit.compress(state, rows[:2], ape, plan, **options).cpu())
    return torch.cat(outs), state.cpu()


def test_bytes_do_not_depend_on_the_wave_or_the_machine(device: str) -> None:
    """With NaN, infinities, subnormals and both zeros everywhere."""
    out, state = _random_bits(device)
    with wavejit.arch.using("host_w32"):
        expected, expected_state = _random_bits("cpu")
    assert_same_bytes(out, expected, "out")
    assert_same_bytes(state, expected_state, "state")
    assert set(out[out.isnan()].view(torch.int32).tolist()) == {0x7FC00000}
