"""Where compress states lie: the two addressing schemes (docs/state-pool.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wavejit.check import positive


@dataclass(frozen=True)
class PagedRing:
    """A ring of `ring_size` rows in every page of the sliding window's cache.

    state_loc(pos) = (swa // swa_page_size) * ring_size + swa % ring_size, with
    swa = full_to_swa[req_to_token[request, pos]].

    req_to_token: int32 [slots, max_len]; full_to_swa: int64 or int32 [full slots];
    swa_page_size and ring_size: tokens and rows, the page a multiple of the ring.
    """

    req_to_token: Any
    full_to_swa: Any
    swa_page_size: int
    ring_size: int

    def __post_init__(self) -> None:
        check_geometry(self.swa_page_size, self.ring_size)


@dataclass(frozen=True)
class RequestRing:
    """A ring of `ring_size` rows a request slot: slot * ring_size + pos % ring_size."""

    ring_size: int

    def __post_init__(self) -> None:
        positive("ring_size", self.ring_size)


Scheme = PagedRing | RequestRing


def check_geometry(swa_page_size: int, ring_size: int) -> None:
    """Both positive and the page a multiple of the ring, else ValueError."""
    positive("swa_page_size", swa_page_size)
    positive("ring_size", ring_size)
    if swa_page_size % ring_size:
        raise ValueError(
            f"swa_page_size: expected a multiple of ring_size={ring_size}, got {swa_page_size}"
        )


def check_ratio(scheme: Scheme, ratio: int) -> None:
    """The ring must hold whole groups of `ratio` tokens, else ValueError."""
    if scheme.ring_size % ratio:
        raise ValueError(
            f"ring_size: expected a multiple of the ratio {ratio}, got {scheme.ring_size}"
        )


def swa_slots(scheme: PagedRing, slots: Any, positions: Any) -> Any:
    """The sliding window's slots of positions, int64 on the CPU; -1 where a table has no answer."""
    import torch

    slots, positions = slots.cpu().long(), positions.cpu().long()
    tokens, to_swa = scheme.req_to_token.cpu(), scheme.full_to_swa.cpu().long()
    nothing = torch.zeros_like(positions)
    good = (slots >= 0) & (slots < tokens.shape[0])
    good &= (positions >= 0) & (positions < tokens.shape[1])
    full = tokens[slots.where(good, nothing), positions.where(good, nothing)].long()
    good &= (full >= 0) & (full < to_swa.shape[0])
    swa = to_swa[full.where(good, nothing)]
    return swa.where(good & (swa >= 0), nothing - 1)


def state_locs(scheme: Scheme, slots: Any, positions: Any) -> Any:
    """State rows of positions of request slots, int64 on the CPU; -1 where there is none."""
    if isinstance(scheme, PagedRing):
        swa = swa_slots(scheme, slots, positions)
        page = swa.div(scheme.swa_page_size, rounding_mode="floor")
        return (page * scheme.ring_size + swa % scheme.ring_size).where(swa >= 0, swa)
    slots, positions = slots.cpu().long(), positions.cpu().long()
    locs = slots * scheme.ring_size + positions % scheme.ring_size
    return locs.where((slots >= 0) & (positions >= 0), locs.new_full((), -1))
