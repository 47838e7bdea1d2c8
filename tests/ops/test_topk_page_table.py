"""topk_page_table: the reference's columns, whatever the scores and lengths are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs


def check(
    device: str, scores: Any, lengths: Any, k: int, page_size: int = 64, table: Any = None
) -> Any:
    """The op between sentinels against the reference; twice, with the scores unchanged."""
    lengths = torch.as_tensor(lengths)
    pages = -(-scores.shape[1] // page_size)
    if table is None:
        table = inputs.permutation(7, len(scores) * pages).reshape(len(scores), pages).int()
    given = [guarded(t, device=device, name="given") for t in (scores, lengths, table)]
    outs = [guarded(torch.full((len(scores), k), 77).int(), device=device) for _ in range(2)]
    out, raw = (g.tensor for g in outs)
    options: dict[str, Any] = {"page_size": page_size}
    got = wavejit.topk_page_table(*(g.tensor for g in given), k, **options, out=out, raw_out=raw)
    assert got is out
    expected_raw = torch.empty(len(scores), k, dtype=torch.int32)
    expected = reference.topk_page_table(scores, lengths, table, k, **options, raw_out=expected_raw)
    assert_same_bytes(raw, expected_raw, "raw_out")
    assert_same_bytes(out, expected, "out")
    check_guards(*given, *outs)
    assert_same_bytes(given[0].tensor, scores, "scores")
    again = wavejit.topk_page_table(*(g.tensor for g in given), k, **options)
    assert_same_bytes(again, out, "second run")
    return out


@pytest.mark.parametrize("k", [1, 512, 1024, 2048])
@pytest.mark.parametrize("rows, columns", [(2, 256), (3, 4096), (2, 9001), (1, 40_000)])
def test_as_the_reference(device: str, k: int, rows: int, columns: int) -> None:
    lengths = torch.full((rows,), columns)
    lengths[0] -= columns // 9
    check(device, inputs.normal(columns + k, (rows, columns)), lengths, k)


def hard_rows(columns: int) -> dict[str, Any]:
    """Distributions at which selections drop winners."""
    ramp = torch.arange(columns).float()
    one_half = torch.full((columns,), 1.0) + inputs.uniform(1, (columns,)) * 2**-11
    fine = (torch.tensor(0x3F800000) + inputs.permutation(2, columns)).int().view(torch.float32)
    return {
        "one bucket of fp16": one_half,
        "neighbours": fine,
        "all equal": torch.full((columns,), -3.5),
        "two values": inputs.integers(3, (columns,), 0, 2).float(),
        "ascending": ramp,
        "descending": -ramp,
        "denormal": inputs.integers(4, (columns,), 0, 99, torch.int32).view(torch.float32),
        "any bits": inputs.any_float(5, (columns,)),
        "nan": torch.full((columns,), torch.nan),
        "nan and -inf": torch.where(ramp % 3 == 0, -torch.inf, torch.nan),
        "infinite": torch.where(ramp % 7 == 0, torch.inf, ramp),
        "zeros": torch.where(ramp % 2 == 0, 0.0, -0.0),
        "best at the end": torch.where(ramp >= columns - 100, ramp, 0.5),
    }


def test_many_short_rows(device: str) -> None:
    """More rows than run side by side, of every hard distribution and length: the columns of the
    same rows in two calls."""
    columns, k, rows = 4096, 512, 513
    hard = torch.stack(list(hard_rows(columns).values()))
    scores = hard[torch.arange(rows) % len(hard)].to(device)
    lengths = inputs.integers(8, (rows,), 0, columns + 1, torch.int32).to(device)
    table = inputs.permutation(7, rows * 64).reshape(rows, 64).int().to(device)
    raw = torch.empty(rows, k, dtype=torch.int32, device=device)
    whole = wavejit.topk_page_table(scores, lengths, table, k, page_size=64)
    again = wavejit.topk_page_table(scores, lengths, table, k, page_size=64, raw_out=raw)
    parts = [slice(0, 300), slice(300, rows)]
    given = [(scores[part], lengths[part], table[part]) for part in parts]
    halves = [wavejit.topk_page_table(*part, k, page_size=64) for part in given]
    assert_same_bytes(whole, torch.cat(halves))
    assert_same_bytes(again, whole)
    some = slice(0, None, 37)
    expected_raw = torch.empty(len(raw[some]), k, dtype=torch.int32)
    sample = (one[some].cpu() for one in (scores, lengths, table))
    expected = reference.topk_page_table(*sample, k, page_size=64, raw_out=expected_raw)
    assert_same_bytes(whole[some], expected)
    assert_same_bytes(raw[some], expected_raw)


@pytest.mark.parametrize("k", [512, 2048])
@pytest.mark.parametrize("columns, count", [(4096, 13), (5000, 13), (9000, 13), (20_000, 17)])
def test_no_winner_is_dropped(device: str, k: int, columns: int, count: int) -> None:
    """A block's registers; on a GPU a cluster's; a stream, which many long rows get there."""
    rows = torch.stack((2 * list(hard_rows(columns).values()))[:count])
    check(device, rows, [columns] * len(rows), k)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("alike", [1, 2, 9, 31, 32, 33, 300])
def test_a_few_candidates_for_the_last_places(device: str, alike: int, sign: int) -> None:
    """Neighbours in the first digit, some equal, that lie all over a short row: a part of them is
    selected, none or all, and with more of them than are ranked at once the selection goes on."""
    columns = 4096
    scores = inputs.uniform(alike, (3, columns)) + (0.75 * sign - 1.5)  # below them
    scores[:, ::7] += 2  # above
    place = inputs.permutation(alike + 1, columns)[:alike]
    few = sign + inputs.integers(alike, (alike,), 0, max(alike // 2, 1)).float() * 2**-12
    scores[:, place] = few
    above = int((scores[0] > few.max()).sum())
    for k in {above, above + 1, above + alike // 2, above + alike} - {0}:
        check(device, scores, [columns, columns - 3, columns - 700], k)


@pytest.mark.parametrize("rows", [1, 40])
def test_a_sample_that_misleads(device: str, rows: int) -> None:
    """All large scores lie where a stream looks first, and they are fewer than k."""
    columns = 40_000
    first = torch.arange(columns) // 256 % 10 == 0
    scores = inputs.normal(8, (rows, columns))
    scores[:, first & (first.cumsum(0) <= 1000)] += 100
    check(device, scores, [columns] * rows, 2048)


def misleading(columns: int, k: int, first: Any) -> dict[str, Any]:
    """Scores whose columns `first`, the sample, are not like the others."""
    normal, place = inputs.normal(9, (columns,)), first.cumsum(0)
    return {
        "fewer than k are large": torch.where(first & (place <= k // 2), normal + 100, normal),
        "none is large": torch.where(first, normal - 100, normal),
        "all are": torch.where(first, normal + 100, normal),
        "all are alike": torch.where(first, 1.0, normal),
        "the others are alike": torch.where(first, normal, 4.0),
        "one bit apart": 1 + (normal > 1) * 2.0**-23,
        "below 0": -(normal.abs()) - 1,
        "nan": torch.where(first, torch.nan, normal),
    }


@pytest.mark.parametrize("k", [100, 2048])
@pytest.mark.parametrize("columns, period, width", [(8000, 1024, 128), (16_000, 1024, 128)])
def test_a_sample_of_resident_scores_that_misleads(
    device: str, columns: int, period: int, width: int, k: int
) -> None:
    rows = misleading(columns, k, torch.arange(columns) % period < width)
    check(device, torch.stack(list(rows.values())), [columns] * 4 + [columns - 999] * 4, k)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="clusters of blocks need a GPU")
@pytest.mark.parametrize("k", [100, 2048])
@pytest.mark.parametrize("columns", [20_000, 65_536, 131_000, 262_144])
def test_a_sample_of_a_cluster_that_misleads(columns: int, k: int) -> None:
    period = columns // 64 // 4 * 4
    first = torch.arange(columns) % period < 32
    rows = torch.stack(list(misleading(columns, k, first).values()))
    for lengths in ([columns] * 8, [columns // 3] * 8, [k + 1] * 8):
        check("cuda", rows, lengths, k)


@pytest.mark.parametrize("name", ["any bits", "all equal", "neighbours", "ascending"])
def test_262144_columns(device: str, name: str) -> None:
    check(device, hard_rows(262_144)[name][None], [262_144], 2048)


@pytest.mark.parametrize("k", [1, 5, 512])
def test_lengths(device: str, k: int) -> None:
    columns = 700
    lengths = [0, 1, k - 1, k, k + 1, columns, columns + 1, 2**40, -1, -(2**40)]
    scores = inputs.normal(1, (len(lengths), columns))
    check(device, scores, lengths, k)
    narrow = torch.tensor(lengths).clamp(-(2**31), 2**31 - 1).int()
    check(device, scores, narrow, k)


def test_short_rows_need_no_score(device: str) -> None:
    scores = torch.full((3, 512), torch.nan)
    out = check(device, scores, [512, 100, 0], 512, 1)
    assert (out[0] >= 0).all() and (out[1, 100:] == -1).all() and (out[2] == -1).all()


@pytest.mark.parametrize("page_size", [1, 2, 16, 64, 65536])
def test_page_sizes_and_holes(device: str, page_size: int) -> None:
    """A third of the pages are missing; the table is narrower than the row; rows lie apart."""
    scores = inputs.normal(page_size, (4, 900))
    pages = max(1, 800 // page_size)
    table = inputs.integers(9, (4, pages), 0, 30_000, torch.int32)
    table[inputs.integers(10, (4, pages), 0, 3) == 0] = -5
    for lengths in ([900, 900, 100, 870], [300, 64, 1, 513]):
        check(device, scores, lengths, 512, page_size, table)
    table[:] = 2**31 - 1
    check(device, scores, [900] * 4, 64, page_size, table)


def test_rows_may_lie_apart_at_any_address(device: str) -> None:
    scores, table = inputs.normal(1, (5, 1100)), inputs.integers(2, (5, 40), 0, 99, torch.int32)
    apart = guarded(scores, device=device, row_stride=1203)
    pages = guarded(table, device=device, row_stride=57)
    lengths = torch.tensor([1099, 1098, 1097, 1096, 1095])
    for shift in range(3):
        got = wavejit.topk_page_table(
            apart.tensor[:, shift:], lengths.to(device), pages.tensor, 600, page_size=32
        )
        expected = reference.topk_page_table(scores[:, shift:], lengths, table, 600, page_size=32)
        assert_same_bytes(got, expected)
    check_guards(apart, pages)


def test_ragged_and_packed_rows(device: str) -> None:
    scores = inputs.normal(1, (6, 1100))
    lengths = torch.tensor([1000, 1100, 2, 0, 700, 600], dtype=torch.int32)
    starts = torch.tensor([3, 0, 1098, 2000, -7, 498])
    offsets = torch.tensor([0, 5, 2**31 - 600, 9, -3, 2**40])
    table = inputs.integers(2, (3, 20), -2, 99, torch.int32)
    batch = torch.tensor([0, 2, 1, 3, -1, 2])

    def both(page_table: Any, **options: Any) -> None:
        given = (scores, lengths, page_table)
        on = [t if t is None else t.to(device) for t in given]
        vectors = {name: t.to(device) for name, t in options.items()}
        raw = torch.empty(6, 300, dtype=torch.int32)
        expected = reference.topk_page_table(*given, 300, page_size=64, raw_out=raw, **options)
        got_raw = torch.empty_like(raw, device=device)
        got = wavejit.topk_page_table(*on, 300, page_size=64, raw_out=got_raw, **vectors)
        assert_same_bytes(got, expected)
        assert_same_bytes(got_raw, raw)

    both(None)
    both(None, starts=starts, offsets=offsets)
    both(table, row_to_batch=batch, starts=starts)
    both(table)  # rows 3, 4 and 5 have no request


def test_nothing_to_do(device: str) -> None:
    empty = torch.zeros(0, 100, device=device), torch.zeros(0, dtype=torch.int32, device=device)
    table = torch.zeros(0, 2, dtype=torch.int32, device=device)
    assert wavejit.topk_page_table(*empty, table, 9, page_size=64).shape == (0, 9)
    check(device, torch.zeros(2, 0), [3, 0], 4, 64, torch.zeros(2, 0, dtype=torch.int32))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e-45]),
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_few_values(values: list[float], k: int) -> None:
    scores = torch.tensor([values], dtype=torch.float32)
    table = torch.arange(max(len(values), 1)).int()[None]
    got = wavejit.topk_page_table(scores, torch.tensor([len(values)]), table, k)
    assert_same_bytes(got, reference.topk_page_table(scores, torch.tensor([len(values)]), table, k))


def test_wrong_arguments() -> None:
    scores, lengths = torch.zeros(2, 100), torch.tensor([5, 5])
    table = torch.zeros(2, 2, dtype=torch.int32)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        (([1.0], lengths, table, 4), {}, TypeError, "scores: expected a torch tensor"),
        ((scores.half(), lengths, table, 4), {}, TypeError, "scores"),
        ((scores.t(), lengths, table, 4), {}, ValueError, "scores"),
        ((scores, lengths[:1], table, 4), {}, ValueError, "seq_lens"),
        ((scores, lengths.float(), table, 4), {}, TypeError, "seq_lens"),
        ((scores, lengths, table.long(), 4), {}, TypeError, "page_table"),
        ((scores, lengths, table, 0), {}, ValueError, "k: expected an int from 1 to 2048"),
        ((scores, lengths, table, 2049), {}, ValueError, "k: expected"),
        ((scores, lengths, table, 4), {"page_size": 48}, ValueError, "page_size: .*power of two"),
        ((scores, lengths, table, 4), {"page_size": 0}, ValueError, "page_size"),
        ((scores, lengths, table, 4), {"page_size": 1 << 17}, ValueError, "page_size"),
        ((scores, lengths, table, 4), {"out": table}, ValueError, "out: expected shape"),
        ((scores, lengths, table, 2), {"out": table.long()}, TypeError, "out"),
        ((scores, lengths, table, 4), {"raw_out": table}, ValueError, "raw_out"),
        ((scores, lengths, table, 4), {"offsets": lengths}, ValueError, "offsets"),
        ((scores, lengths, None, 4), {"row_to_batch": lengths}, ValueError, "row_to_batch"),
        ((scores, lengths, table, 4), {"starts": lengths[:1]}, ValueError, "starts"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.topk_page_table(*wrong, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("rows, columns", [(1, 4096), (3, 65536), (40, 20_000)])
def test_a_graph_follows_the_lengths(rows: int, columns: int) -> None:
    scores = inputs.normal(1, (rows, columns)).cuda()
    table = torch.arange(rows * columns, dtype=torch.int32).reshape(rows, columns).cuda()
    lengths = torch.full((rows,), columns, device="cuda")
    out = torch.empty(rows, 512, dtype=torch.int32, device="cuda")
    wavejit.topk_page_table(scores, lengths, table, 512, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        wavejit.topk_page_table(scores, lengths, table, 512, out=out)
    for turn in range(3):
        lengths.copy_(inputs.integers(turn, (rows,), 0, columns + 100))
        scores.copy_(inputs.normal(turn + 5, (rows, columns)))
        graph.replay()
        expected = reference.topk_page_table(scores.cpu(), lengths.cpu(), table.cpu(), 512)
        assert_same_bytes(out, expected)
