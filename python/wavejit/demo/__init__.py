"""Replays requests of a real serving trace through the engine and checks every compressed row.

`python -m wavejit demo`, or `wavejit.demo.run()` for the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavejit.demo.report import Report


def run(
    requests: int | None = None,
    generated: int | None = None,
    arches: Sequence[str] | None = None,
) -> Report:
    """Replay the first `requests` (default: all) of the excerpt on every one of `arches`.

    `generated` cuts each request's generated tokens; arches: default `wavejit.targets.targets()`.
    Raises `check.Mismatch` at the first compressed row that differs from its definition.
    """
    from wavejit.demo.check import Expected
    from wavejit.demo.replay import replay
    from wavejit.demo.report import Report
    from wavejit.demo.streams import STREAMS
    from wavejit.demo.trace import read
    from wavejit.targets import targets

    chosen = read(requests, generated)
    expected = {stream.name: Expected.of(stream, chosen) for stream in STREAMS}
    runs = [replay(arch, chosen, expected) for arch in arches or targets()]
    return Report(chosen, runs)
