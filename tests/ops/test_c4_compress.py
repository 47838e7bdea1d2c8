"""The c4 compressor's values and state against the definition written out in compress_world.py."""

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
SERVED = [(512, FP32), (512, BF16), (128, FP32), (128, BF16)]


def pages(page: int = 256, ring: int = 8, *, max_len: int = 1280, slots: int = 4) -> Any:
    return plan_loop.paged_ring(slots, max_len, page, ring, seed=3)


@pytest.mark.parametrize("head_dim, state", SERVED)
@pytest.mark.parametrize("tokens", [4, 8, 32, 256, 1024])
def test_fresh_prefill(device: str, head_dim: int, state: Any, tokens: int) -> None:
    world = World(device, head_dim=head_dim, state=state, scheme=pages())
    assert world.chunk({2: tokens}).shape == (tokens // 4, head_dim)


@pytest.mark.parametrize("head_dim, state", SERVED)
@pytest.mark.parametrize(
    "prefix, extend", [(4, 4), (4, 252), (256, 4), (252, 4), (508, 4), (764, 4)]
)
def test_prefill_after_a_prefix(
    device: str, head_dim: int, state: Any, prefix: int, extend: int
) -> None:
    for scheme in (pages(), wavejit.RequestRing(8)):
        world = World(device, head_dim=head_dim, state=state, scheme=scheme)
        world.chunk({1: prefix})
        assert len(world.chunk({1: extend})) == extend // 4


@pytest.mark.parametrize("head_dim, state", SERVED)
def test_several_requests(device: str, head_dim: int, state: Any) -> None:
    world = World(device, head_dim=head_dim, state=state, scheme=pages())
    world.chunk({3: 8, 0: 256, 1: 260, 2: 1023})
    world.chunk({2: 1, 1: 3, 3: 5})
    world.decode([0, 1, 2, 3])


@pytest.mark.parametrize("head_dim, state", SERVED)
@pytest.mark.parametrize("ring", [8, 16])
def test_decode_step_by_step(device: str, head_dim: int, state: Any, ring: int) -> None:
    """From the first token on, over many groups, with requests at every phase of a group."""
    world = World(device, head_dim=head_dim, state=state, scheme=pages(64, ring))
    world.chunk({1: 62, 2: 7, 3: 125})
    for _ in range(21):
        world.decode([3, 0, 2, 1])
    assert sorted(world.entries[0]) == [4, 8, 12, 16, 20]


@pytest.mark.parametrize("head_dim, slots", [(512, 140), (128, 600)])
def test_many_requests(device: str, head_dim: int, slots: int) -> None:
    """Steps and chunks of more rows than the launches for small batches take."""
    world = World(device, head_dim=head_dim, slots=slots)
    everyone = inputs.permutation(slots, slots).tolist()
    world.chunk({slot: 5 + slot % 9 for slot in everyone}, pad_to=9 * slots)
    world.chunk({slot: 1 + slot % 4 for slot in everyone}, pad_to=2500)
    for _ in range(3):
        world.decode(everyone)


DTYPES = [
    (128, FP32, FP32, BF16),
    (128, FP32, BF16, BF16),
    (128, BF16, BF16, BF16),
    (64, FP32, FP32, FP32),
    (192, BF16, FP32, FP32),
]


@pytest.mark.parametrize("head_dim, state, input, output", [*DTYPES, (512, BF16, FP32, FP32)])
def test_dtypes_and_the_reference(
    device: str, head_dim: int, state: Any, input: Any, output: Any
) -> None:
    """Every combination of ring, input and output; the library's reference says the same."""
    world = World(
        device,
        head_dim=head_dim,
        state=state,
        input=input,
        output=output,
        scheme=pages(64),
        with_reference=True,
    )
    world.chunk({0: 3, 1: 40, 2: 66})
    world.chunk({1: 21, 0: 6}, pad_to=40)
    for _ in range(5):
        world.decode([2, 0])


def test_output_in_bf16_is_the_rounded_output(device: str) -> None:
    wide, narrow = (World(device, output=output, scheme=pages()) for output in (FP32, BF16))
    for world in (wide, narrow):
        world.chunk({0: 37, 1: 300})
    for slot in (0, 1):
        for end, row in wide.entries[slot].items():
            assert_same_bytes(narrow.entries[slot][end], row.to(BF16), f"entry at {end}")


@pytest.mark.parametrize("input", [FP32, BF16])
def test_rows_that_lie_apart(device: str, input: Any) -> None:
    plain, apart = (World(device, input=input, scheme=pages()) for _ in range(2))
    stride = 4 * 128 + 36
    first = plain.chunk({0: 21, 2: 18})
    assert_same_bytes(apart.chunk({0: 21, 2: 18}, row_stride=stride), first, "prefill")
    for _ in range(4):
        step = plain.decode([2, 0])
        assert_same_bytes(apart.decode([2, 0], row_stride=stride), step, "decode")


def test_wide_plans_give_the_same_bytes(device: str) -> None:
    narrow, wide = (World(device, scheme=pages()) for _ in range(2))
    for extends in ({0: 300, 1: 5}, {1: 9, 0: 2}):
        assert_same_bytes(wide.chunk(extends, wide=True), narrow.chunk(extends), "out")


def test_two_hundred_thousand_tokens(device: str) -> None:
    """Wide ragged ids reach the last rows of the batch."""
    tokens = 200_000
    rows = inputs.normal(9, (40, 256)).repeat(tokens // 40 + 1, 1)[:tokens]
    out = wavejit.compress(
        torch.zeros(2, 4, 256, device=device),
        rows.to(device),
        random_ape(64).to(device),
        plan_loop.prefill_plan(device, [0], [tokens], [tokens], wavejit.RequestRing(8)),
        head_dim=64,
        ratio=4,
    ).cpu()
    assert out.shape == (tokens // 4, 64)
    for i in (1, 16383, 16384, 16385, 40_000, tokens // 4 - 1):
        value, scale = entry(rows[4 * i - 4 : 4 * i + 4].double().numpy(), random_ape(64).numpy())
        assert (np.abs(out[i].numpy() - value) <= 2e-5 * scale).all(), i


def test_five_thousand_requests(device: str) -> None:
    """One step in which every third request ends its second group."""
    count, dim = 5000, 64
    seqs = torch.where(torch.arange(count) % 3 == 0, 8, 5 + torch.arange(count) % 3)
    pool = inputs.normal(1, (100, 4, 4 * dim)).repeat(101, 1, 1)[: 2 * count + 1].contiguous()
    given, ape = inputs.normal(2, (count, 4 * dim)), random_ape(dim)
    plan = wavejit.compress_plan_decode(
        4, torch.arange(count).to(device), seqs.to(device), scheme=wavejit.RequestRing(8)
    )
    state, out = pool.to(device), torch.full((count, dim), -77.0, device=device)
    arguments = (given.to(device), ape.to(device), plan)
    wavejit.compress(state, *arguments, head_dim=dim, ratio=4, out=out)
    pool.view(-1, 4 * dim)[torch.arange(count) * 8 + seqs - 1] = given
    assert_same_bytes(state, pool, "state")
    out = out.cpu()
    assert (out[seqs != 8] == -77).all()
    rows = pool[:-1].view(count, 8, 4, dim)[seqs == 8].double()
    values = torch.cat((rows[:, :4, 0], rows[:, 4:, 1]), dim=1)
    scores = torch.cat((rows[:, :4, 2], rows[:, 4:, 3]), dim=1) + ape.double()
    expected = (torch.softmax(scores, dim=1) * values).sum(dim=1)
    torch.testing.assert_close(out[seqs == 8].double(), expected, rtol=2e-5, atol=2e-5)


# -- order ---------------------------------------------------------------------------------------


def test_writes_of_a_chunk_do_not_reach_its_own_reads(device: str) -> None:
    """Compress first, write second: the last rows go where the first entry reads."""
    world = World(device, scheme=wavejit.RequestRing(8))
    world.chunk({1: 6})
    read = {world.where(1, position) for position in range(6)}
    assert read & {world.where(1, position) for position in range(12, 16)}
    world.chunk({1: 10})
    world = World(device, scheme=wavejit.RequestRing(8))
    for extend in (5, 11, 13, 7, 30):
        world.chunk({0: extend, 3: extend + 1})


# -- the bias ------------------------------------------------------------------------------------


def test_ape_must_be_rearranged(device: str) -> None:
    """Of a checkpoint's [4, 2*head_dim]: first columns: overlap, the others: the group."""
    stored = 4 * inputs.normal(5, (4, 256))
    right = torch.cat((stored[:, :128], stored[:, 128:]))
    wrong = stored.reshape(8, 128)
    world = World(device)
    world.ape = right
    rows = random_rows(128)[:8]
    out = world.chunk({0: 8}, rows=rows)
    values = torch.cat((rows[:4, :128], rows[4:, 128:256])).double()
    scores = torch.cat((rows[:4, 256:384] + stored[:, :128], rows[4:, 384:] + stored[:, 128:]))
    expected = (torch.softmax(scores.double(), dim=0) * values).sum(dim=0)
    torch.testing.assert_close(out[1].double(), expected, rtol=2e-5, atol=2e-5)
    silent, _ = entry(rows.double().numpy(), wrong.double().numpy())
    assert np.abs(silent - out[1].numpy()).max() > 0.5


# -- special values ------------------------------------------------------------------------------


def one_window(device: str, values: Any, scores: Any, tokens: int = 8) -> Any:
    """The last entry of one request of 4 or 8 tokens, prefilled and decoded; each column is a case.

    values, scores: [tokens, 64], of the first group in the overlap's columns.
    """
    rows = torch.zeros(tokens, 256)
    for i in range(tokens):
        overlap = tokens == 8 and i < 4
        rows[i, 0 if overlap else 64 :][:64] = values[i]
        rows[i, 128 if overlap else 192 :][:64] = scores[i]
    ape = torch.zeros(8, 64, device=device)
    scheme = wavejit.RequestRing(8)
    plan = plan_loop.prefill_plan(device, [0], [tokens], [tokens], scheme)
    options = {"head_dim": 64, "ratio": 4}
    state = torch.zeros(2, 4, 256, device=device)
    out = wavejit.compress(state, rows.to(device), ape, plan, **options)[-1].cpu()
    state = torch.zeros(2, 4, 256, device=device)
    for i in range(tokens):
        plan = plan_loop.decode_plan(device, [0], [i + 1], scheme)
        step = wavejit.compress(state, rows[i : i + 1].to(device), ape, plan, **options)
    assert_same_bytes(step[0], out, "decode against prefill")
    return out


def test_the_sentinel_has_no_weight(device: str) -> None:
    """A window that reads the pool's untouched rows takes nothing from them."""
    pool = wavejit.CompressStatePool(
        16, ratio=4, head_dim=64, swa_page_size=64, ring_size=8, device=device
    )
    row = torch.zeros(1, 256)
    row[0, 64:128] = 2.5
    plan = plan_loop.decode_plan(device, [1], [8], wavejit.RequestRing(8))
    out = wavejit.compress(
        pool.kv_buffer,
        row.to(device),
        torch.zeros(8, 64, device=device),
        plan,
        head_dim=64,
        ratio=4,
    )
    assert_same_bytes(out, torch.full((1, 64), 2.5))


INF, MAX, TINY = float("inf"), torch.finfo(FP32).max, 2.0**-149


@pytest.mark.parametrize(
    "tokens, scores, values, expected",
    [
        (8, [-INF] * 8, [3.0] * 8, 0.0),  # everything masked
        (4, [-INF] * 4, [3.0] * 4, 0.0),
        (8, [-MAX] * 8, [3.0] * 8, 3.0),  # a score that a request may have
        (4, [-MAX] * 4, [3.0] * 4, 3.0),
        (4, [-MAX, -INF, -INF, -INF], [3.0] * 4, 3.0),
        (4, [0.0, -INF, -INF, -INF], [2.5, 9.0, 9.0, 9.0], 2.5),
        (8, [MAX] * 8, [3.0] * 8, 3.0),
        (8, [MAX, *[-MAX] * 7], [3.0, *[9.0] * 7], 3.0),
        (8, [0.0, *[-200.0] * 7], [3.0, *[9.0] * 7], 3.0),  # a weight of exactly 0
        (4, [0.0, -INF, -INF, -INF], [TINY, 0.0, 0.0, 0.0], TINY),
        (4, [0.0] * 4, [2.0**-126] * 4, 2.0**-126),
        (4, [0.0, 0.0, -INF, -INF], [-TINY, -TINY, 0.0, 0.0], -TINY),
        (4, [TINY, -TINY, 0.0, -0.0], [1.0, 2.0, 3.0, 4.0], 2.5),
        (4, [0.0] * 4, [INF, 1.0, 1.0, 1.0], INF),
        (4, [0.0] * 4, [-INF, 1.0, 1.0, 1.0], -INF),
    ],
)
def test_special_values(
    device: str, tokens: int, scores: list[float], values: list[float], expected: float
) -> None:
    columns = (torch.tensor(row)[:, None].expand(tokens, 64) for row in (values, scores))
    out = one_window(device, *columns, tokens=tokens)
    assert_same_bytes(out, torch.full((64,), expected), "out")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("what", ["score", "value", "infinite score", "opposite values"])
def test_nan_is_the_one_quiet_nan(device: str, place: int, what: str) -> None:
    """Whatever its payload and whichever operation made it; other channels keep their values."""
    strange = torch.tensor([0x7FA12345, -0x2B3DD])  # a signalling and a negative one
    values, scores = torch.ones(4, 64), torch.zeros(4, 64)
    for channel in (0, 5, 63):
        nan = strange[channel % 2].int().view(FP32)
        if what == "score":
            scores[place, channel] = nan
        elif what == "value":
            values[place, channel] = nan
        elif what == "infinite score":
            scores[place, channel] = INF
        else:
            values[place, channel], values[(place + 1) % 4, channel] = INF, -INF
    out = one_window(device, values, scores, tokens=4).view(torch.int32)
    expected = torch.full((64,), 0x3F800000, dtype=torch.int32)
    expected[[0, 5, 63]] = 0x7FC00000
    assert_same_bytes(out, expected)


def _random_bits(device: str) -> tuple[Any, Any]:
    """All of fp32 through a prefill and a decode step with a bf16 ring: outputs and state."""
    scheme = wavejit.RequestRing(8)
    plan = plan_loop.prefill_plan(device, [0, 1], [40, 31], [31, 22], scheme)
    state = inputs.any_float(1, (4, 4, 512)).to(BF16).to(device)
    ape = inputs.any_float(2, (8, 128)).to(device)
    options = {"head_dim": 128, "ratio": 4}
    rows = inputs.any_float(3, (53, 512)).to(device)
    out = wavejit.compress(state, rows, ape, plan, **options)
    outs = [out[plan.plan_c.view(torch.int32)[:, 0] != -1].cpu()]
    for step in range(4):
        plan = plan_loop.decode_plan(device, [0, 1], [41 + step, 32 + step], scheme)
        out = torch.zeros(2, 128, device=device)
        rows = inputs.any_float(4 + step, (2, 512)).to(device)
        outs.append(wavejit.compress(state, rows, ape, plan, out=out, **options).cpu())
    return torch.cat(outs), state.cpu()


def test_bytes_do_not_depend_on_the_wave_or_the_machine(device: str) -> None:
    """With NaN, infinities, subnormals and both zeros everywhere."""
    out, state = _random_bits(device)
    with wavejit.arch.using("host_w32"):
        expected, expected_state = _random_bits("cpu")
    assert_same_bytes(out, expected, "out")
    assert_same_bytes(state, expected_state, "state")
    assert set(out[out.isnan()].view(torch.int32).tolist()) == {0x7FC00000}
    assert 0.05 < out.isnan().float().mean() < 0.95
