"""The compressors' state: rows of tokens whose group is not complete yet, in rings."""

from __future__ import annotations

from typing import Any

from wavejit.check import one_of, positive
from wavejit.ring import check_geometry

ROW_BLOCKS = {4: 4, 128: 2}  # column blocks of head_dim in a row


class CompressStatePool:
    """`kv_buffer` [pages, ratio, row_width] with its geometry checked.

    size: state rows that the schemes address (swa pages * ring_size, or request slots * ring_size);
    swa_page_size, ring_size: tokens and rows, ring_size a multiple of `ratio` and swa_page_size of
    ring_size; dtype: torch.float32 or torch.bfloat16. The pool has at least ring_size + 1 rows
    more, and its last row is the sentinel: values 0, scores -inf, so that it has no weight.
    Every row starts like that. Raises ValueError or TypeError naming the argument.
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
    ) -> None:
        import torch

        positive("size", size)
        one_of("ratio", ratio, tuple(ROW_BLOCKS))
        positive("head_dim", head_dim)
        check_geometry(swa_page_size, ring_size)
        if ring_size % ratio:
            raise ValueError(
                f"ring_size: expected a multiple of the ratio {ratio}, got {ring_size}"
            )
        dtype = torch.float32 if dtype is None else dtype
        one_of("dtype", dtype, (torch.float32, torch.bfloat16))
        self.ratio = ratio
        self.head_dim = head_dim
        self.swa_page_size = swa_page_size
        self.ring_size = ring_size
        self.request_scoped = request_scoped
        self.row_width = ROW_BLOCKS[ratio] * head_dim
        pages = -(-(size + ring_size + 1) // ratio)
        self.kv_buffer = torch.empty((pages, ratio, self.row_width), dtype=dtype, device=device)
        self._clear(self.kv_buffer)

    @property
    def rows(self) -> Any:
        """The pool as [rows, row_width]."""
        return self.kv_buffer.view(-1, self.row_width)

    def _clear(self, rows: Any) -> None:
        rows[..., : self.row_width // 2] = 0
        rows[..., self.row_width // 2 :] = float("-inf")

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

    def get(self, state_loc: Any) -> Any:
        """Rows [n, row_width]; -1 reads the sentinel."""
        return self.rows[state_loc]

    def set(self, state_loc: Any, values: Any) -> None:
        """Write rows; what goes to -1 is dropped, the sentinel is restored."""
        self.rows[state_loc] = values.to(self.kv_buffer.dtype)
        self._clear(self.rows[-1:])

    def clear_requests(self, req_pool_indices: Any) -> None:
        """Clear the rings of request slots that new requests get (request-scoped pools)."""
        if not self.request_scoped:
            raise ValueError("clear_requests: expected a request-scoped pool, this one is paged")
        rings = self.rows[: self.rows.shape[0] // self.ring_size * self.ring_size]
        rings = rings.view(-1, self.ring_size, self.row_width)
        half = self.row_width // 2
        rings[req_pool_indices, :, :half] = 0
        rings[req_pool_indices, :, half:] = float("-inf")
