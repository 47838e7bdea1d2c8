"""Requests that go through a compressor, with the definition written out beside it.

`World` keeps every projection row of every request, sends chunks and decode steps to the library,
and checks each output row against float64 sums over that list, and each state row byte by byte.
Shares no code with the library's kernels or references; locations come from plan_loop.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import plan_loop
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, inputs

TOLERANCE = 2e-5  # of the sum of the absolute weighted values
BF16_STEP = 2.0**-8


@cache
def random_rows(head_dim: int, ratio: int = 4) -> Any:
    """2,048 projection rows, fp32: values about 1, scores about 3."""
    values = head_dim * (2 if ratio == 4 else 1)
    rows = inputs.normal(head_dim, (2048, 2 * values))
    rows[:, values:] *= 3
    return rows


@cache
def random_ape(head_dim: int, ratio: int = 4) -> Any:
    return inputs.normal(head_dim + 1, (8 if ratio == 4 else 128, head_dim))


def entry(rows: np.ndarray, ape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One latent row from its window of 4, 8 or 128 rows, and the scale of its rounding errors."""
    dim = ape.shape[1]
    values, scores = [], []
    if len(ape) == 128:
        values, scores = list(rows[:, :dim]), list(rows[:, dim:] + ape)
        rows = rows[:0]
    for k, row in enumerate(rows):
        i = k + 8 - len(rows)
        values.append(row[:dim] if i < 4 else row[dim : 2 * dim])
        score = row[2 * dim : 3 * dim] if i < 4 else row[3 * dim :]
        scores.append(score + ape[i])
    weights = np.exp(np.array(scores) - np.max(scores, axis=0))
    weights /= weights.sum(axis=0)
    return (weights * values).sum(axis=0), (weights * np.abs(values)).sum(axis=0)


class World:
    """`slots` requests, each with the rows it has had so far, and one state pool."""

    def __init__(
        self,
        device: str,
        *,
        ratio: int = 4,
        head_dim: int = 128,
        state: Any = torch.float32,
        input: Any = torch.float32,
        output: Any = None,
        scheme: Any = None,
        slots: int = 4,
        with_reference: bool = False,
        with_planner: bool = False,
    ) -> None:
        self.device, self.dim = device, head_dim
        self.state_dtype, self.input, self.output = state, input, output or input
        self.ratio, self.window = ratio, 8 if ratio == 4 else 128
        self.width = (4 if ratio == 4 else 2) * head_dim
        self.scheme = scheme or wavejit.RequestRing(self.window)
        self.where = plan_loop.Locator(self.scheme)
        self.ape = random_ape(head_dim, ratio).to(input)
        self.rows: list[list[Any]] = [[] for _ in range(slots)]
        self.fed = 0
        paged = isinstance(self.scheme, wavejit.PagedRing)
        rings = len(self.scheme.full_to_swa) // self.scheme.swa_page_size if paged else slots
        pages = rings * self.scheme.ring_size // ratio + 1
        # Whatever reads a row that nobody wrote gets NaN, and is found.
        self.expected_state = torch.full((pages, ratio, self.width), float("nan"), dtype=state)
        self.kv_buffer = self.expected_state.clone().to(device)
        self.with_reference = with_reference
        self.with_planner = with_planner  # else plan_loop plans, so that only one kernel is tested
        self.entries: list[dict[int, Any]] = [{} for _ in range(slots)]

    def feed(self, count: int) -> Any:
        """The next `count` projection rows."""
        picked = (torch.arange(count) + self.fed) % 2048
        self.fed += count
        return random_rows(self.dim, self.ratio)[picked].to(self.input)

    def chunk(
        self, extends: dict[int, int], *, rows: Any = None, row_stride: int = 0, **options: Any
    ) -> Any:
        """A prefill chunk: `extends` tokens for each slot. Returns the outputs."""
        slots = list(extends)
        count = sum(extends.values())
        given = self.feed(count) if rows is None else rows
        prefix = {slot: len(self.rows[slot]) for slot in slots}
        seqs = [prefix[slot] + extends[slot] for slot in slots]
        lists = slots, seqs, [extends[slot] for slot in slots]
        plan = self._plan_prefill(*lists, **options)
        out = self._run(plan, given, plan.plan_c.shape[0], row_stride)
        self._check_reference(plan, given, out)
        expected, start = [], 0
        for slot, seq in zip(slots, seqs, strict=True):
            self.rows[slot] += list(given[start : start + extends[slot]])
            start += extends[slot]
            ends = [end for end in range(prefix[slot] + 1, seq + 1) if end % self.ratio == 0]
            for end in ends:
                expected.append((slot, end, prefix[slot]))
        self._check_outputs(out, expected)
        writes = plan_loop.prefill_rows(self.ratio, *lists, self.scheme, count).write
        self._check_state(given, [write for write in writes if write[1] >= 0])
        return out

    def decode(self, slots: list[int], *, rows: Any = None, row_stride: int = 0) -> Any:
        """One token for each slot. Returns the outputs."""
        given = self.feed(len(slots)) if rows is None else rows
        seqs = [len(self.rows[slot]) + 1 for slot in slots]
        plan = self._plan_decode(slots, seqs)
        out = self._run(plan, given, len(slots), row_stride)
        self._check_reference(plan, given, out)
        expected = []
        for i, (slot, seq) in enumerate(zip(slots, seqs, strict=True)):
            self.rows[slot].append(given[i])
            expected.append((slot, seq, seq) if seq % self.ratio == 0 else None)
        self._check_outputs(out, expected)
        locs = [self.where(slot, seq - 1) for slot, seq in zip(slots, seqs, strict=True)]
        self._check_state(given, list(enumerate(locs)))
        return out

    def _plan_prefill(
        self, slots: list[int], seqs: list[int], extends: list[int], **options: Any
    ) -> Any:
        if not self.with_planner:
            lists = slots, seqs, extends
            return plan_loop.prefill_plan(
                self.device, *lists, self.scheme, ratio=self.ratio, **options
            )
        return wavejit.compress_plan_prefill(
            self.ratio,
            torch.tensor(slots).to(self.device),
            torch.tensor(seqs),
            torch.tensor(extends),
            scheme=plan_loop.on(self.device, self.scheme),
            num_q_tokens=sum(extends),
            **options,
        )

    def _plan_decode(self, slots: list[int], seqs: list[int]) -> Any:
        if not self.with_planner:
            return plan_loop.decode_plan(self.device, slots, seqs, self.scheme, ratio=self.ratio)
        slots_here, seqs_here = (torch.tensor(one).to(self.device) for one in (slots, seqs))
        scheme = plan_loop.on(self.device, self.scheme)
        return wavejit.compress_plan_decode(self.ratio, slots_here, seqs_here, scheme=scheme)

    def _run(self, plan: Any, given: Any, count: int, row_stride: int) -> Any:
        out = torch.full((count, self.dim), -77.0, dtype=self.output, device=self.device)
        given = given.to(self.device)
        if row_stride:
            apart = torch.full((len(given), row_stride), 1e9, dtype=self.input, device=self.device)
            apart[:, : given.shape[1]] = given
            given = apart[:, : given.shape[1]]
        self.before = self.kv_buffer.cpu().clone()
        done = wavejit.compress(
            self.kv_buffer,
            given,
            self.ape.to(self.device),
            plan,
            head_dim=self.dim,
            ratio=self.ratio,
            out=out,
        )
        assert done is out
        return out.cpu()

    def _check_reference(self, plan: Any, given: Any, out: Any) -> None:
        if not self.with_reference:
            return
        same = plan_loop.mapped(plan, lambda rows: rows.cpu())
        defined = torch.full_like(out, -77.0)
        reference.compress(
            self.before, given, self.ape, same, head_dim=self.dim, ratio=self.ratio, out=defined
        )
        assert_same_bytes(self.kv_buffer, self.before, "state, against the reference's")
        close = {"rtol": BF16_STEP, "atol": 1e-4} if out.dtype == torch.bfloat16 else {"atol": 2e-5}
        torch.testing.assert_close(out, defined, **{"rtol": 2e-5, **close})

    def _check_outputs(self, out: Any, expected: list[tuple[int, int, int] | None]) -> None:
        """Row i is the entry of (slot, end) whose positions below `kept` came through the ring."""
        assert len(out) >= len(expected)
        ape = self.ape.double().numpy()
        for i, wanted in enumerate([*expected, *[None] * (len(out) - len(expected))]):
            if wanted is None:
                assert_same_bytes(out[i], torch.full_like(out[i], -77.0), f"untouched row {i}")
                continue
            slot, end, kept = wanted
            window = range(max(end - self.window, 0), end)
            seen = [self._as_read(slot, position, kept) for position in window]
            value, scale = entry(np.stack(seen), ape)
            error = np.abs(out[i].double().numpy() - value)
            limit = TOLERANCE * scale + 1e-30
            if self.output == torch.bfloat16:
                limit = limit + BF16_STEP * np.abs(value)
            assert (error <= limit).all(), f"slot {slot}, entry that ends at {end}: {error.max()}"
            self.entries[slot][end] = out[i]

    def _as_read(self, slot: int, position: int, kept: int) -> np.ndarray:
        row = self.rows[slot][position]
        if position < kept:
            row = row.to(self.state_dtype).to(self.input)
        return row.double().numpy()

    def _check_state(self, given: Any, writes: list[tuple[int, int]]) -> None:
        """The rows that the rules name, converted once, and no other."""
        rows = self.expected_state.view(-1, self.width)
        for ragged, loc in writes:
            rows[loc] = given[ragged].to(self.state_dtype)
        assert_same_bytes(self.kv_buffer, self.expected_state, "state")
