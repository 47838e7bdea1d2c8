"""Exact top-k of scores, as slots of a paged cache (templates/topk_page_table.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import module_for
from wavejit.check import positive, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["topk_page_table"]
MAX_K = 2048
MAX_PAGE_SIZE = 65536
_ready: dict[Any, Callable[..., Any]] = {}


def spec() -> KernelSpec:
    """The only instance."""
    return kernel_spec("topk_page_table", ("run",))


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The only one there is."""
    return [spec()]


def topk_page_table(
    scores: Any,
    seq_lens: Any,
    page_table: Any,
    k: int,
    *,
    page_size: int = 1,
    out: Any = None,
    raw_out: Any = None,
    starts: Any = None,
    offsets: Any = None,
    row_to_batch: Any = None,
) -> Any:
    """The slots of each row's k largest scores, ascending by column; -1 where there are fewer.

    scores: [n, columns] fp32, rows may lie apart; never written. seq_lens: [n], how many columns of
    a row count, clamped to the row; in a row of at most k all are selected.
    page_table: [requests, pages] int32, or None. k: 1 to 2048. page_size: a power of two up to
    65536. Ragged rows: starts [n], the first column of a row's window, clamped too. Packed rows:
    row_to_batch [n], the row of the page table (default: the row itself). Index vectors are int32
    or int64.

    Selection is exact on all bits of the score: NaN counts as -inf, -0 as +0, and of equal scores
    those of the lowest columns are taken. Column i of a window, counted from its start, becomes
    page_table[r, i // page_size] * page_size + i % page_size, and -1 where that page is outside of
    the table or negative; without a page table i + offsets[row]. raw_out [n, k] int32 gets i.

    Returns int32 [n, k], or `out` (contiguous). Allocates nothing else, so that a captured graph
    follows the lengths. Raises ValueError or TypeError naming the argument.
    """
    scores, seq_lens = taken(scores=scores, seq_lens=seq_lens)
    key = scores.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        run = module_for(spec(), scores).run
        _ready[scores.get_device(), archs._host] = run
    if type(k) is not int or not 0 < k <= MAX_K:
        raise ValueError(f"k: expected an int from 1 to {MAX_K}, got {k!r}")
    if out is None:
        import torch

        out = torch.empty((scores.shape[0], k), dtype=torch.int32, device=scores.device)
    elif out.dim() != 2 or out.shape[1] != k:
        raise ValueError(f"out: expected shape [{scores.shape[0]}, {k}], got {list(out.shape)}")
    bits = _page_bits(page_size, page_table, offsets, row_to_batch)
    run(scores, seq_lens, page_table, out, raw_out, starts, offsets, row_to_batch, bits)
    return out


def _page_bits(page_size: Any, page_table: Any, offsets: Any, row_to_batch: Any) -> int:
    if page_size.__class__ is not int or page_size <= 0 or page_size & (page_size - 1):
        positive("page_size", page_size)
        raise ValueError(f"page_size: expected a power of two, got {page_size}")
    if page_size > MAX_PAGE_SIZE:
        raise ValueError(f"page_size: expected at most {MAX_PAGE_SIZE}, got {page_size}")
    if page_table is not None and offsets is not None:
        raise ValueError("offsets: expected None beside a page_table, which gives the slots")
    if page_table is None and row_to_batch is not None:
        raise ValueError("row_to_batch: expected None without a page_table, whose rows it names")
    return int(page_size).bit_length() - 1


def topk_page_table_reference(
    scores: Any,
    seq_lens: Any,
    page_table: Any,
    k: int,
    *,
    page_size: int = 1,
    out: Any = None,
    raw_out: Any = None,
    starts: Any = None,
    offsets: Any = None,
    row_to_batch: Any = None,
) -> Any:
    """`topk_page_table` row by row: a stable descending sort in float64 (all on the CPU)."""
    import torch

    found = torch.full((scores.shape[0], k), -1, dtype=torch.int32)
    raw = found.clone()
    for b, length in enumerate(seq_lens.tolist()):
        start = 0 if starts is None else min(max(int(starts[b]), 0), scores.shape[1])
        count = min(max(length, 0), scores.shape[1] - start)
        chosen = torch.arange(count)
        if count > k:
            x = scores[b, start : start + count].double()
            x = torch.where(x.isnan(), -torch.inf, x)
            chosen = torch.sort(x, descending=True, stable=True).indices[:k].sort().values
        raw[b, : len(chosen)] = chosen.int()
        slots = chosen + (0 if offsets is None else int(offsets[b]))
        if page_table is not None:
            request = b if row_to_batch is None else int(row_to_batch[b])
            slots = _slots(page_table, request, chosen, page_size)
        slots = torch.where((slots < -1) | (slots >= 1 << 31), -1, slots)
        found[b, : len(chosen)] = slots.int()
    if raw_out is not None:
        raw_out.copy_(raw)
    return found if out is None else out.copy_(found)


def _slots(page_table: Any, request: int, columns: Any, page_size: int) -> Any:
    import torch

    page = columns // page_size
    if not 0 <= request < page_table.shape[0] or page_table.shape[1] == 0:
        return torch.full_like(columns, -1)
    entry = page_table[request].long()[page.clamp(max=page_table.shape[1] - 1)]
    valid = (page < page_table.shape[1]) & (entry >= 0)
    return torch.where(valid, entry * page_size + columns % page_size, -1)


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Rows of every kind at three sizes; ragged rows without a page table."""
    from functools import partial

    cases: dict[str, Callable[[Any], str]] = {
        f"topk_page_table-{columns}-{k}": partial(_golden, columns, k)
        for columns, k in ((600, 512), (3000, 512), (6000, 64))
    }
    more = {"ragged": _golden_ragged, "many": partial(_golden, 3000, 512, before=512)}
    return {**cases, **{f"topk_page_table-{name}": case for name, case in more.items()}}


def _rows(columns: int) -> Any:
    """Normal scores, all equal, two values, every bit pattern."""
    import torch

    from wavejit.testing import inputs

    return torch.stack(
        [
            inputs.normal(1, (columns,), 3.0),
            torch.full((columns,), 0.25),
            inputs.integers(2, (columns,), 0, 2).float(),
            inputs.any_float(3, (columns,)),
        ]
    )


def _golden(columns: int, k: int, device: Any, before: int = 0) -> str:
    """Rows of every kind behind `before` empty ones."""
    import torch

    from wavejit.testing import digest, inputs

    scores = torch.cat((torch.zeros(before, columns), _rows(columns)))
    lengths = torch.tensor([0] * before + [columns, columns - 5, columns + 9, columns])
    table = inputs.integers(4, (4, columns // 64 + 1), -3, 500, torch.int32)
    table = torch.cat((torch.zeros(before, table.shape[1], dtype=torch.int32), table))
    raw = torch.empty((before + 4, k), dtype=torch.int32, device=device)
    given = [tensor.to(device) for tensor in (scores, lengths, table)]
    return digest(topk_page_table(*given, k, page_size=64, raw_out=raw), raw)


def _golden_ragged(device: Any) -> str:
    import torch

    from wavejit.testing import digest

    scores = _rows(1500).to(device)
    lengths = torch.tensor([1000, 1500, 40, 900], dtype=torch.int32, device=device)
    starts = torch.tensor([3, 0, 700, 601], device=device)
    offsets = torch.tensor([0, 10, 5000, -1], device=device)
    return digest(topk_page_table(scores, lengths, None, 100, starts=starts, offsets=offsets))
