"""The demo: its server, its own definition of an entry, and that one wrong row makes it fail."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wavejit
from wavejit import cli, demo
from wavejit.demo import check, server, streams, trace

SMALL = ["demo", "--requests", "4", "--generated", "6"]


def test_the_excerpt_is_attributed() -> None:
    requests = trace.read()
    assert len(requests) == 32
    assert (requests[0].context, requests[0].generated) == (374, 44)
    assert all(a.arrival <= b.arrival for a, b in pairwise(requests))
    notice = Path(trace.EXCERPT).with_name("NOTICE").read_text()
    for text in (notice, trace.ATTRIBUTION):
        assert "Azure" in text and "CC-BY 4.0" in text
        assert "github.com/Azure/AzurePublicDataset" in text


def test_every_token_is_seen_once_in_order() -> None:
    requests = trace.read()
    seen = dict.fromkeys(range(len(requests)), 0)
    slots: dict[int, int] = {}
    at_once = 0
    for step in server.Server(requests).steps():
        assert sum(chunk.count for chunk in step.prefill) <= server.PREFILL_BUDGET
        chunks = [*step.prefill, *step.decode]
        assert chunks and len({chunk.slot for chunk in chunks}) == len(chunks)
        at_once = max(at_once, len(step.decode))
        for chunk in chunks:
            assert chunk.start == seen[chunk.request.index] and chunk.count > 0
            assert slots.setdefault(chunk.request.index, chunk.slot) == chunk.slot > 0
            seen[chunk.request.index] = chunk.end
    assert seen == {request.index: request.tokens for request in requests}
    assert at_once == server.SLOTS - 1
    assert len(set(slots.values())) < len(slots)  # slots are given again


def test_windows_resolve_and_pages_have_one_owner() -> None:
    engine = server.Server(trace.read(max_generated=40))
    free = len(engine._free_swa)
    evicted = 0
    for step in engine.steps():
        held = [(running, list(running.swa_pages.values())) for running in engine._running]
        pages = [page for _, owned in held for page in owned]
        assert len(set(pages)) == len(pages) and 0 not in pages
        for chunk in (*step.prefill, *step.decode):
            tokens = engine.req_to_token[chunk.slot, : chunk.end]
            locations = engine.full_to_swa[tokens]
            assert (locations[max(0, chunk.start - server.WINDOW) :] >= 0).all()
            assert (locations % server.PAGE == np.arange(chunk.end) % server.PAGE)[
                locations >= 0
            ].all()
            evicted += int((locations < 0).sum())
    assert evicted > 0
    assert len(engine._free_swa) == free and not engine._running
    assert (engine.full_to_swa == -1).all()


@pytest.mark.parametrize("stream", streams.STREAMS, ids=lambda stream: stream.name)
def test_the_definition_is_the_definition(stream: streams.Stream) -> None:
    """One channel at a time in Python's own floats, from section 2.1 of the kernels' definition."""
    request = trace.Request(index=3, arrival=0.0, context=14, generated=1)
    given = streams.rows(stream, np.full(14, 3), np.arange(14)).astype(float)
    bias, dim = streams.position_bias(stream).astype(float), stream.head_dim
    found = check.entries(stream, request)
    assert found.shape == (3, dim)
    for n in range(3):
        for d in (0, 1, dim - 1):
            pairs = [
                (given[4 * n + i, dim + d], given[4 * n + i, 3 * dim + d] + bias[4 + i, d])
                for i in range(4)
            ]
            if n > 0:
                pairs += [
                    (given[4 * n - 4 + i, d], given[4 * n - 4 + i, 2 * dim + d] + bias[i, d])
                    for i in range(4)
                ]
            total = math.fsum(math.exp(score) for _, score in pairs)
            mean = math.fsum(value * math.exp(score) for value, score in pairs) / total
            assert found[n, d] == pytest.approx(mean, rel=1e-13, abs=1e-13)


def test_rows_do_not_depend_on_how_they_are_asked_for() -> None:
    stream = streams.STREAMS[0]
    together = streams.rows(stream, [1, 1, 2], [5, 6, 5])
    for i, (request, position) in enumerate(((1, 5), (1, 6), (2, 5))):
        assert (streams.rows(stream, [request], [position])[0] == together[i]).all()
    assert (together[0] != together[1]).mean() > 0.99 < (together[0] != together[2]).mean()
    values, scores = together[:, :1024], together[:, 1024:]
    assert -2 <= values.min() < -1.9 and 1.9 < values.max() < 2
    assert -8 <= scores.min() < -7.6 and 7.6 < scores.max() < 8


def test_the_waves_agree_and_every_row_is_checked() -> None:
    report = demo.run(requests=4, generated=6, arches=["host_w32", "host_w64"])
    entries = sum(request.entries for request in report.requests)
    assert report.disagreements == []
    checked = [row for row in report.rows() if row["largest_error"] is not None]
    assert {(row["kernel"], row["arch"]) for row in checked} == {
        (stream.name, arch) for stream in streams.STREAMS for arch in ("host_w32", "host_w64")
    }
    for row in checked:
        assert row["rows"] == entries
        assert 0 < row["largest_error"] < check.TOLERANCE
    # the indexer's rows do not depend on where its state lies
    assert len({row["digest"] for row in checked if "indexer" in row["kernel"]}) == 1
    assert "the digests agree on host_w32, host_w64" in report.text()
    assert "4 requests" in report.text() and "CC-BY 4.0" in report.text()


def test_the_gpu_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    report = demo.run(requests=6, generated=20)
    assert len(report.runs) == 3 and report.disagreements == []


def _spoiled(change: Any, arch: str, calls: int) -> Any:
    """`wavejit.compress`, whose output `change` spoils at the given call on `arch`."""
    real, count = wavejit.compress, 0

    def compress(*arguments: Any, **how: Any) -> Any:
        nonlocal count
        out = real(*arguments, **how)
        if wavejit.arch.host() == arch:
            count += 1
            if count == calls:
                change(out)
        return out

    return compress


def _wrong_value(out: torch.Tensor) -> None:
    out[1, 7] += 1e-3


def _not_written(out: torch.Tensor) -> None:
    out[1, 7] = torch.nan


def _last_bit(out: torch.Tensor) -> None:
    out[1, 7] = torch.nextafter(out[1, 7], torch.tensor(torch.inf))


@pytest.mark.parametrize("change", [_wrong_value, _not_written])
def test_one_wrong_value_makes_it_fail(
    change: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wavejit, "compress", _spoiled(change, "host_w64", 1))
    assert cli.main(SMALL) == 1
    said = capsys.readouterr().err
    assert "c4 attention 512 on host_w64: 1 of" in said
    assert "entry 1 of request 0, channel 7" in said


def test_one_wrong_bit_makes_the_digests_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wavejit, "compress", _spoiled(_last_bit, "host_w32", 2))
    assert cli.main(SMALL) == 1
    assert "the digests DIFFER between host_w32, host_w64" in capsys.readouterr().out
