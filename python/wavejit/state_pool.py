"""The compressors' state: rows of tokens whose group is not complete yet, in rings."""

from __future__ import annotations

from typing import Any

from wavejit.check import one_of, positive
from wavejit.ring import PagedRing, Scheme, check_geometry, check_ratio, state_locs, swa_slots

ROW_BLOCKS = {4: 4, 128: 2}  # column blocks of head_dim in a row
ONLINE_BLOCKS = 3  # running maximum, sum of weights, mean


class CompressStatePool:
    """`kv_buffer` [pages, ratio, row_width] with its geometry checked.

    size: state rows that the schemes address (`rows_needed`); swa_page_size, ring_size: tokens and
    rows, ring_size a multiple of `ratio` and swa_page_size of ring_size; dtype: torch.float32 or
    torch.bfloat16. The pool has at least ring_size + 1 rows more, and its last row is the sentinel:
    values 0, scores -inf, so that it has no weight. Every row starts like that.

    online (ratio 128, ring_size 1): `kv_buffer` is [banks * bank_rows, 3 * head_dim], one row a
    request slot and bank; bank 0 holds what was accepted, 1 to `max_draft_tokens` what is verified.
    Raises ValueError or TypeError naming the argument.
    """

    def __init__(
        self,
        size: int,
        *,
        ratio: int,
        head_dim: int,
        swa_page_size: int,
        ring_size: int,
        dtype: Any = None,
        device: Any = None,
        request_scoped: bool = False,
        online: bool = False,
        max_draft_tokens: int = 0,
    ) -> None:
        import torch

        positive("size", size)
        one_of("ratio", ratio, tuple(ROW_BLOCKS))
        positive("head_dim", head_dim)
        check_geometry(swa_page_size, ring_size)
        _check_ring(ratio, ring_size, online, max_draft_tokens)
        dtype = torch.float32 if dtype is None else dtype
        one_of("dtype", dtype, (torch.float32, torch.bfloat16))
        self.ratio = ratio
        self.head_dim = head_dim
        self.swa_page_size = swa_page_size
        self.ring_size = ring_size
        self.request_scoped = request_scoped or online
        self.online = online
        self.row_width = (ONLINE_BLOCKS if online else ROW_BLOCKS[ratio]) * head_dim
        page = 1 if online else ratio
        pages = -(-(size + ring_size + 1) // page)
        self.bank_rows = pages * page  # of one bank; all rows unless online
        shape = (pages, ratio, self.row_width)
        if online:
            shape = ((1 + max_draft_tokens) * pages, self.row_width)  # type: ignore[assignment]
        self.kv_buffer = torch.empty(shape, dtype=dtype, device=device)
        self._clear(self.rows)

    @staticmethod
    def rows_needed(
        *, ring_size: int, swa_pages: int | None = None, request_slots: int | None = None
    ) -> int:
        """`size` for a ring in each page of the sliding window's cache, or for each request slot.

        Request slot 0 counts: padded rows of a captured graph write to its ring.
        """
        if (swa_pages is None) == (request_slots is None):
            raise ValueError("expected one of swa_pages and request_slots, got both or none")
        name = "swa_pages" if request_slots is None else "request_slots"
        rings = swa_pages if request_slots is None else request_slots
        return positive(name, rings) * positive("ring_size", ring_size)

    @staticmethod
    def bytes_needed(
        size: int,
        *,
        ratio: int,
        head_dim: int,
        ring_size: int,
        element_size: int = 4,
        online: bool = False,
        max_draft_tokens: int = 0,
    ) -> int:
        """Memory of the pool with these arguments, in bytes."""
        one_of("ratio", ratio, tuple(ROW_BLOCKS))
        page, blocks = (1, ONLINE_BLOCKS) if online else (ratio, ROW_BLOCKS[ratio])
        rows = -(-(size + ring_size + 1) // page) * page * (1 + max_draft_tokens * online)
        return rows * blocks * head_dim * element_size

    @property
    def rows(self) -> Any:
        """The pool as [rows, row_width]."""
        return self.kv_buffer.view(-1, self.row_width)

    def _clear(self, rows: Any) -> None:
        """Rows without weight; online: maximum -inf, sum and mean 0."""
        zeros = slice(self.head_dim, None) if self.online else slice(self.row_width // 2)
        lowest = slice(self.head_dim) if self.online else slice(self.row_width // 2, None)
        rows[..., zeros] = 0
        rows[..., lowest] = float("-inf")

    def translate_from_swa_loc_to_state_loc(self, swa_loc: Any) -> Any:
        """State rows of slots of the sliding window's cache; -1 where swa_loc < 0."""
        page, ring = self.swa_page_size, self.ring_size
        loc = swa_loc.div(page, rounding_mode="floor") * ring + swa_loc % ring
        return loc.where(swa_loc >= 0, loc.new_full((), -1))

    def translate_from_req_position_to_state_loc(
        self, req_pool_indices: Any, positions: Any
    ) -> Any:
        """State rows of positions in request rings; -1 where the position is negative."""
        loc = req_pool_indices * self.ring_size + positions % self.ring_size
        return loc.where(positions >= 0, loc.new_full((), -1))

    def _inside(self, state_loc: Any) -> Any:
        """What is no row of the pool becomes the sentinel."""
        last = self.rows.shape[0] - 1
        return state_loc.where((state_loc >= 0) & (state_loc < last), state_loc.new_full((), last))

    def get(self, state_loc: Any) -> Any:
        """Rows [n, row_width]; -1, and what lies outside the pool, reads the sentinel."""
        return self.rows[self._inside(state_loc)]

    def set(self, state_loc: Any, values: Any) -> None:
        """Write rows; what goes to -1 or outside is dropped, the sentinel is restored."""
        self.rows[self._inside(state_loc)] = values.to(self.kv_buffer.dtype)
        self._clear(self.rows[-1:])

    def clear_rows(self, state_loc: Any) -> None:
        """Clear rows of any scheme; -1 and what lies outside the pool is skipped."""
        import torch

        empty = torch.empty(self.row_width, dtype=self.kv_buffer.dtype, device=state_loc.device)
        self._clear(empty)
        self.rows[self._inside(state_loc)] = empty

    def clear_requests(self, req_pool_indices: Any) -> None:
        """Clear the rings of request slots that new requests get (request-scoped pools)."""
        self._needs_request_rings("clear_requests")
        self.clear_rows(self._ring_rows(req_pool_indices, range(self.ring_size)))

    def clear_rejected(
        self, req_pool_indices: Any, seq_lens: Any, rejected: Any, *, most: int
    ) -> None:
        """Clear the rows of draft tokens that a verification rejected (request-scoped pools).

        seq_lens: tokens that remain; rejected: how many drafts behind them were not accepted, at
        most `most`, which shapes the launch; integers [requests] each. Of a paged pool, clear the
        drafts' translated rows with `clear_rows`.
        """
        import torch

        self._needs_request_rings("clear_rejected")
        spare = self.ring_size - (8 if self.ratio == 4 else 128) + 2
        if self.online or positive("most", most) > spare:
            raise ValueError(
                f"most: expected a ring with room for {most} drafts, that of ring_size="
                f"{self.ring_size} is {0 if self.online else max(spare, 0)}"
            )
        offsets = torch.arange(most, device=seq_lens.device)
        positions = seq_lens[:, None] + offsets
        locs = self.translate_from_req_position_to_state_loc(req_pool_indices[:, None], positions)
        gone = (offsets < rejected[:, None]) & (req_pool_indices[:, None] >= 0)
        self.clear_rows(locs.where(gone, locs.new_full((), -1)))

    def _ring_rows(self, req_pool_indices: Any, in_ring: range) -> Any:
        import torch

        offsets = torch.arange(in_ring.start, in_ring.stop, device=req_pool_indices.device)
        slots = req_pool_indices[:, None]
        locs = slots * self.ring_size + offsets
        if self.online:
            banks = torch.arange(len(self.rows) // self.bank_rows, device=slots.device)
            locs = slots + banks * self.bank_rows
        inside = (slots >= 0) & (slots < self.bank_rows // self.ring_size)
        return locs.where(inside, locs.new_full((), -1))

    def _needs_request_rings(self, what: str) -> None:
        if not self.request_scoped:
            raise ValueError(f"{what}: expected a request-scoped pool, this one is paged")

    def transfer_indices(self, scheme: Scheme, request: int, length: int) -> Any:
        """What a request of `length` tokens takes along when another server decodes it.

        Ratio 4: the state rows of its last length % 4 + 4 positions; ratio 128: the page of 128
        rows that holds its incomplete group, or nothing; online: its row, or nothing. int64 [n] on
        the CPU, -1 where a table does not resolve.
        """
        import torch

        rest = length % self.ratio
        if self.online:
            return torch.tensor([request] if rest else [], dtype=torch.int64)
        self._same_geometry(scheme)
        if self.ratio == 4:
            positions = torch.arange(max(length - rest - 4, 0), length)
            return state_locs(scheme, torch.full_like(positions, request), positions)
        last = torch.arange(length - 1, length if rest else length - 1)
        locs = state_locs(scheme, torch.full_like(last, request), last)
        return locs.div(self.ratio, rounding_mode="floor")

    def check_aliases(self, scheme: Scheme, req_pool_indices: Any, seq_lens: Any) -> None:
        """ValueError if two live requests keep different tokens in one row, or one outside.

        req_pool_indices, seq_lens: the live requests and their tokens. Checked are the rows that
        the planner keeps for each: its incomplete group, for ratio 4 the group before, and those
        of speculation. Requests that share a prefix's slots of the sliding window share its rows.
        A diagnosis on the CPU, which waits for the device.
        """
        self._same_geometry(scheme)
        owners: dict[int, tuple[Any, int, int]] = {}
        live = zip(req_pool_indices.tolist(), seq_lens.tolist(), strict=True)
        for index, (slot, seq) in enumerate(live):
            for position, loc, home in self._kept_rows(scheme, slot, seq):
                if not 0 <= loc < len(self.rows) - 1:
                    raise ValueError(
                        f"request slot {slot}, position {position}: expected one of the pool's "
                        f"{len(self.rows) - 1} rows, got {loc}"
                    )
                token = (index, position) if home is None else home
                other, *owner = owners.setdefault(loc, (token, slot, position))
                if other != token:
                    raise ValueError(
                        f"state row {loc} belongs to request slot {owner[0]}, position {owner[1]}, "
                        f"and to request slot {slot}, position {position}"
                    )

    def _kept_rows(self, scheme: Scheme, slot: int, seq: int) -> list[tuple[int, int, int | None]]:
        """(position, row, the sliding window's slot) of what a request of `seq` tokens keeps."""
        import torch

        kept = self.ring_size - (8 if self.ratio == 4 else 128)
        group = seq // self.ratio * self.ratio - (4 if self.ratio == 4 else 0)
        first = max(min(group, seq - (kept + 2 if kept > 0 else 0)), 0)
        positions = torch.arange(seq - min(seq % self.ratio, 1) if self.online else first, seq)
        slots = torch.full_like(positions, slot)
        homes: list[int | None] = [None] * len(positions)
        if isinstance(scheme, PagedRing):
            homes = swa_slots(scheme, slots, positions).tolist()
        locs = state_locs(scheme, slots, positions).tolist()
        return list(zip(positions.tolist(), locs, homes, strict=True))

    def _same_geometry(self, scheme: Scheme) -> None:
        if not self.online:
            check_ratio(scheme, self.ratio)
        page = scheme.swa_page_size if isinstance(scheme, PagedRing) else self.swa_page_size
        ours = (self.swa_page_size, self.ring_size)
        if (page, scheme.ring_size) != ours:
            raise ValueError(
                f"scheme: expected the pool's swa_page_size and ring_size {ours}, got "
                f"{(page, scheme.ring_size)}"
            )


def _check_ring(ratio: int, ring_size: int, online: bool, max_draft_tokens: int) -> None:
    if online:
        if (ratio, ring_size) != (128, 1):
            raise ValueError(
                f"ring_size: expected 1 and ratio 128 for an online pool, got {ring_size}, {ratio}"
            )
        if max_draft_tokens:
            positive("max_draft_tokens", max_draft_tokens)
        return
    if max_draft_tokens:
        raise ValueError(
            "max_draft_tokens: expected 0 unless online: drafts need a larger ring_size"
        )
    if ring_size % ratio:
        raise ValueError(f"ring_size: expected a multiple of the ratio {ratio}, got {ring_size}")
