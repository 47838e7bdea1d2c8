"""The part of a server that decides what runs when and where: slots, pages, chunks, batches.

No kernel is called here. A step has a prefill batch of at most `PREFILL_BUDGET` tokens of several
requests and a decode batch of every request that is past its prompt. The sliding window's pages
are given to a request when it reaches them and taken back when its window has left them; the
tables say so with -1, as in a server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wavejit.demo.trace import Request

PAGE = 256  # tokens of a page, of the full pool and of the sliding window's
WINDOW = 128
SLOTS = 13  # slot 0 is reserved: twelve requests run at once
PREFILL_BUDGET = 512  # tokens a step
STEP_SECONDS = 0.25  # of the trace's clock
_RESERVED = 1  # page 0 of a pool belongs to nobody
# at most two pages of a window a request, and those that a step's chunks add
SWA_PAGES = _RESERVED + 2 * SLOTS + PREFILL_BUDGET // PAGE + SLOTS


@dataclass(frozen=True)
class Chunk:
    """`count` tokens of a request from position `start` on; one token in a decode batch."""

    request: Request
    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True)
class Step:
    prefill: list[Chunk]
    decode: list[Chunk]
    new_slots: list[int]  # given to a request in this step; their state is another request's


@dataclass
class _Running:
    request: Request
    slot: int
    full_pages: list[int]
    done: int = 0
    swa_pages: dict[int, int] = field(default_factory=dict)  # page of the request -> pool's page


class Server:
    """Replays `requests`; `req_to_token` int32 and `full_to_swa` int64 are those of a PagedRing."""

    def __init__(self, requests: Sequence[Request]) -> None:
        import numpy as np

        longest = max(_pages(request.tokens) for request in requests)
        full_pages = _RESERVED + 2 * longest + 2 * SLOTS
        self.req_to_token = np.zeros((SLOTS, longest * PAGE), np.int32)
        self.full_to_swa = np.full(full_pages * PAGE, -1, np.int64)
        self._waiting = deque(requests)
        self._running: list[_Running] = []
        self._free_slots = list(range(SLOTS - 1, 0, -1))
        self._free_full = list(range(_RESERVED, full_pages))
        self._free_swa = list(range(_RESERVED, SWA_PAGES))
        self._clock = 0.0

    def steps(self) -> Iterator[Step]:
        """Every step; the tables hold for a step until the next one is asked for."""
        while self._waiting or self._running:
            if not self._running:
                self._clock = max(self._clock, self._waiting[0].arrival)
            new_slots = self._admit()
            decode = [
                Chunk(r.request, r.slot, r.done, 1)
                for r in self._running
                if r.done >= r.request.context
            ]
            prefill = self._chunks()
            running = {r.slot: r for r in self._running}
            for chunk in (*prefill, *decode):
                self._give_pages(running[chunk.slot], chunk.end)
            yield Step(prefill, decode, new_slots)
            for chunk in (*prefill, *decode):
                running[chunk.slot].done = chunk.end
            self._retire()
            self._clock += STEP_SECONDS

    def _admit(self) -> list[int]:
        """Start what has arrived, in order, while there is a slot and room for all its tokens."""
        new_slots = []
        while self._waiting and self._free_slots and self._waiting[0].arrival <= self._clock:
            needed = _pages(self._waiting[0].tokens)
            if needed > len(self._free_full):
                break
            pages = [self._free_full.pop() for _ in range(needed)]
            slot = self._free_slots.pop()
            for i, page in enumerate(pages):
                self.req_to_token[slot, i * PAGE : (i + 1) * PAGE] = _tokens_of(page)
            self._running.append(_Running(self._waiting.popleft(), slot, pages))
            new_slots.append(slot)
        return new_slots

    def _chunks(self) -> list[Chunk]:
        """Prompts in order of arrival, cut where the budget ends."""
        left, chunks = PREFILL_BUDGET, []
        for r in self._running:
            count = min(left, r.request.context - r.done)
            if count > 0:
                chunks.append(Chunk(r.request, r.slot, r.done, count))
                left -= count
        return chunks

    def _give_pages(self, r: _Running, end: int) -> None:
        for i in range(r.done // PAGE, _pages(end)):
            if i not in r.swa_pages:
                page = r.swa_pages[i] = self._free_swa.pop()
                self.full_to_swa[_tokens_of(r.full_pages[i])] = _tokens_of(page)

    def _take_pages(self, r: _Running, keep_from: int) -> None:
        for i in [i for i in r.swa_pages if (i + 1) * PAGE <= keep_from]:
            self.full_to_swa[_tokens_of(r.full_pages[i])] = -1
            self._free_swa.append(r.swa_pages.pop(i))

    def _retire(self) -> None:
        """Take back what windows have left, and everything of the requests that are complete."""
        for r in list(self._running):
            complete = r.done >= r.request.tokens
            self._take_pages(r, r.request.tokens + PAGE if complete else r.done - WINDOW)
            if complete:
                self._running.remove(r)
                self._free_slots.append(r.slot)
                self._free_full.extend(r.full_pages)


def _pages(tokens: int) -> int:
    return -(-tokens // PAGE)


def _tokens_of(page: int) -> Any:
    import numpy as np

    return np.arange(page * PAGE, (page + 1) * PAGE)
