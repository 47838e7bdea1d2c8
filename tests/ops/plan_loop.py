"""The planner's rules as a plain loop over tokens: what the tests compare every planner with.

Written from the rules alone and shares no code with the library; schemes are read through their
public fields. Also: tables of wished-for geometry, and plan rows as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

import wavejit
from wavejit.bind import module_for
from wavejit.ops import compress_plan
from wavejit.testing import inputs

INVALID = 0xFFFFFFFF
C_ROW = np.dtype([("seq", "<u4"), ("where", "<u4"), ("page0", "<i4"), ("page1", "<i4")])
D_ROW = np.dtype([("seq", "<u4"), ("loc", "<i4"), ("page0", "<i4"), ("page1", "<i4")])
W_ROW = np.dtype([("ragged", "<u4"), ("loc", "<i4")])


@dataclass
class Rows:
    """Rows of both plans, as tuples, and how many tokens' rows are asked for."""

    compress: list[tuple[int, int, int, int, int]]  # seq_len, ragged, buffer_len, page 0, page 1
    write: list[tuple[int, int]]  # ragged, location


class Locator:
    """state_loc of the two schemes on plain lists."""

    def __init__(self, scheme: Any) -> None:
        self.ring = scheme.ring_size
        self.paged = isinstance(scheme, wavejit.PagedRing)
        if self.paged:
            self.page = scheme.swa_page_size
            self.tokens = scheme.req_to_token.cpu().numpy()
            self.swa = scheme.full_to_swa.cpu().numpy()

    def __call__(self, slot: int, position: int) -> int | None:
        if slot < 0:
            return None
        if not self.paged:
            return self._fits(slot * self.ring + position % self.ring)
        if slot >= self.tokens.shape[0] or position >= self.tokens.shape[1]:
            return None
        full = int(self.tokens[slot, position])
        if full < 0 or full >= len(self.swa):
            return None
        swa = int(self.swa[full])
        if swa < 0 or swa >= 1 << 31:
            return None
        return self._fits((swa // self.page) * self.ring + swa % self.ring)

    @staticmethod
    def _fits(loc: int) -> int | None:
        return loc if loc < 1 << 31 else None


def pad_of(ratio: int, ring: int) -> int:
    window = 8 if ratio == 4 else 128
    return ring - window + 2 if ring > window else 0


def prefill_rows(
    ratio: int, slots: list[int], seqs: list[int], extends: list[int], scheme: Any, tokens: int
) -> Rows:
    """Every row up to token `tokens` of the ragged batch; later tokens have none."""
    where = Locator(scheme)
    window = 8 if ratio == 4 else 128
    pad = pad_of(ratio, where.ring)
    rows = Rows([], [])
    start = 0
    for slot, seq, extend in zip(slots, seqs, extends, strict=True):
        good = 0 < extend <= seq < 1 << 31
        last_complete = seq // ratio * ratio
        first_written = min(last_complete - (ratio if ratio == 4 else 0), seq - pad)
        for j in range(min(extend, max(tokens - start, 0)) if good else 0):
            position = seq - extend + j
            if (position + 1) % ratio == 0:
                from_ring = window - min(j + 1, window)
                rows.compress.append(_entry(where, slot, ratio, position + 1, start + j, from_ring))
            ends_page = where.paged and ratio == 4 and position % where.page >= where.page - ratio
            if position >= first_written or ends_page:
                loc = where(slot, position)
                rows.write.append((INVALID, -1) if loc is None else (start + j, loc))
        start += max(extend, 0)
    return rows


def _entry(
    where: Locator, slot: int, ratio: int, seq: int, ragged: int, from_ring: int
) -> tuple[int, int, int, int, int]:
    if from_ring == 0:
        return seq, ragged, 0, -1, -1
    locs = where(slot, max(seq - 1 - ratio, 0)), where(slot, seq - 1)
    candidates = range(8 - min(seq, 8), 8) if ratio == 4 else range(128)
    for i in candidates:  # those that exist and lie in the ring need their page
        if i < from_ring and locs[0 if ratio == 4 and i < 4 else 1] is None:
            return INVALID, 0, 0, -1, -1
    pages = [-1 if loc is None else loc // ratio for loc in locs]
    return seq, ragged, from_ring, pages[0], pages[1]


def decode_rows(ratio: int, slots: list[int], seqs: list[int], scheme: Any) -> np.ndarray:
    """Plan rows of a decode step."""
    where = Locator(scheme)
    rows = np.zeros(len(slots), D_ROW)
    for i, (slot, seq) in enumerate(zip(slots, seqs, strict=True)):
        rows[i] = (INVALID, -1, -1, -1)
        if not 0 < seq < 1 << 31:
            continue
        own = where(slot, seq - 1)
        before = where(slot, max(seq - 1 - ratio, 0))
        pages = [-1 if loc is None else loc // ratio for loc in (before, own)]
        lacks_overlap = ratio == 4 and seq > 4 and before is None
        incomplete = own is None or (seq % ratio == 0 and lacks_overlap)
        rows[i] = (INVALID if incomplete else seq, -1 if own is None else own, *pages)
    return rows


def pack(rows: Rows, *, wide: bool = False, pad_to: int | None = None) -> tuple[Any, Any]:
    """The bytes of both plans, padded or cut to `pad_to` rows."""
    shift = 24 if wide else 16
    compress = [(s, g | b << shift, p, q) for s, g, b, p, q in rows.compress]
    write = list(rows.write)
    if pad_to is not None:
        compress = (compress + [(INVALID, 0, -1, -1)] * pad_to)[:pad_to]
        write = (write + [(INVALID, -1)] * pad_to)[:pad_to]
    return as_plan(np.array(compress, C_ROW)), as_plan(np.array(write, W_ROW))


def prefill_plan(
    device: str,
    slots: list[int],
    seqs: list[int],
    extends: list[int],
    scheme: Any,
    *,
    ratio: int = 4,
    wide: bool | None = None,
    pad_to: int | None = None,
) -> Any:
    """The PrefillPlan that the loop makes, on `device`: for tests of what reads plans."""
    tokens = sum(extends)
    wide = tokens > 1 << 16 if wide is None else wide
    rows = prefill_rows(ratio, slots, seqs, extends, scheme, tokens)
    plans = (plan.to(device) for plan in pack(rows, wide=wide, pad_to=pad_to))
    return compress_plan.PrefillPlan(ratio, *plans, wide)


def decode_plan(
    device: str, slots: list[int], seqs: list[int], scheme: Any, *, ratio: int = 4
) -> Any:
    """The DecodePlan that the loop makes, on `device`."""
    rows = decode_rows(ratio, slots, seqs, scheme)
    return compress_plan.DecodePlan(ratio, as_plan(rows).to(device))


def mapped(plan: Any, change: Callable[[Any], Any]) -> Any:
    """The plan with `change` made to each tensor of rows."""
    names = [field.name for field in fields(plan) if field.name.startswith("plan")]
    return replace(plan, **{name: change(getattr(plan, name)) for name in names})


def as_plan(rows: np.ndarray) -> Any:
    """A structured array as a plan tensor."""
    return torch.from_numpy(rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize).copy())


def as_rows(plan: Any, dtype: np.dtype) -> np.ndarray:
    """A plan tensor as a structured array."""
    return plan.cpu().numpy().copy().view(dtype).reshape(-1)


def paged_ring(
    slots: int, max_len: int, page: int, ring: int, *, seed: int = 0, identity: bool = False
) -> Any:
    """A PagedRing whose pages are position aligned, in random places unless `identity`."""
    pages = -(-max_len // page)
    full = slots * max_len
    tokens = torch.arange(full) if identity else inputs.permutation(seed, full)
    homes = torch.arange(slots * pages) if identity else inputs.permutation(seed + 1, slots * pages)
    position = torch.arange(max_len)
    swa = homes.reshape(slots, pages)[:, position // page] * page + position % page
    full_to_swa = torch.full((full,), -1, dtype=torch.int64)
    full_to_swa[tokens] = swa.reshape(-1)
    return wavejit.PagedRing(tokens.int().reshape(slots, max_len), full_to_swa, page, ring)


def on(device: str, scheme: Any) -> Any:
    """The scheme with its tables on `device`."""
    if isinstance(scheme, wavejit.RequestRing):
        return scheme
    return wavejit.PagedRing(
        scheme.req_to_token.to(device),
        scheme.full_to_swa.to(device),
        scheme.swa_page_size,
        scheme.ring_size,
    )


def launch_prefill(
    device: str,
    ratio: int,
    lengths: tuple[Any, Any, Any],
    scheme: Any,
    *,
    tokens: int,
    rows: int,
    wide: bool = False,
    keep: int | None = None,
) -> tuple[Any, Any]:
    """The kernel as lengths on a GPU reach it, unchecked: both plans of `rows` rows.

    `keep` replaces the rows kept for speculation, to show what they are for.
    """
    scheme = on(device, scheme)
    log2_ratio, window, overlap, kept, page_ends = compress_plan._rules(ratio, scheme)
    plan_c = torch.full((rows, 16), 0x5A, dtype=torch.uint8, device=device)
    plan_w = torch.full((rows, 8), 0x5A, dtype=torch.uint8, device=device)
    module_for(compress_plan.spec(), plan_c).prefill(
        *(vector.to(device) for vector in lengths),
        plan_c,
        plan_w,
        *compress_plan._scheme_arguments(scheme),
        log2_ratio,
        window,
        overlap,
        kept if keep is None else keep,
        page_ends,
        tokens,
        wide,
    )
    return plan_c.cpu(), plan_w.cpu()
