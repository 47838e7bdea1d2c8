"""What the planners refuse: the text names the argument, what was expected and what came."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plan_loop import paged_ring

import wavejit


def _plan(**changes: Any) -> Any:
    arguments = {
        "ratio": 4,
        "req_pool_indices": torch.tensor([0, 1]),
        "seq_lens": torch.tensor([9, 5]),
        "extend_lens": torch.tensor([4, 5]),
        "scheme": wavejit.RequestRing(8),
        "num_q_tokens": 9,
    } | changes
    return wavejit.compress_plan_prefill(**arguments)


def _decode(**changes: Any) -> Any:
    arguments = {
        "ratio": 4,
        "req_pool_indices": torch.tensor([0, 1]),
        "seq_lens": torch.tensor([9, 5]),
        "scheme": wavejit.RequestRing(8),
    } | changes
    return wavejit.compress_plan_decode(**arguments)


def _tables(**changes: Any) -> Any:
    good = paged_ring(2, 64, 64, 8, identity=True)
    arguments = {
        "req_to_token": good.req_to_token,
        "full_to_swa": good.full_to_swa,
        "swa_page_size": 64,
        "ring_size": 8,
    } | changes
    return wavejit.PagedRing(**arguments)


BOTH = [
    # changed argument, error, what the text has: name, expectation, value
    ({"ratio": 3}, ValueError, ("ratio", "4, 128", "got 3")),
    ({"ratio": 0}, ValueError, ("ratio", "4, 128", "got 0")),
    ({"scheme": None}, TypeError, ("scheme", "PagedRing or a RequestRing", "None")),
    ({"ratio": 128}, ValueError, ("ring_size", "multiple of the ratio 128", "got 8")),
    ({"seq_lens": torch.ones(2)}, TypeError, ("seq_lens", "int64 or int32", "float32")),
    ({"seq_lens": torch.ones(2).bool()}, TypeError, ("seq_lens", "int64 or int32", "bool")),
    ({"seq_lens": torch.ones(2, 1).long()}, ValueError, ("seq_lens", "[requests]", "[2, 1]")),
    ({"req_pool_indices": torch.tensor([0])}, ValueError, ("seq_lens", "[requests=1]", "[2]")),
    ({"req_pool_indices": torch.ones(2)}, TypeError, ("req_pool_indices", "int64", "float32")),
    (
        {"req_pool_indices": torch.arange(4)[::2]},
        ValueError,
        ("req_pool_indices", "contiguous", "strides [2]"),
    ),
]
PREFILL = [
    ({"extend_lens": torch.tensor([9])}, ValueError, ("extend_lens", "[2]", "[1]")),
    ({"extend_lens": torch.tensor([4, 6])}, ValueError, ("extend_lens[1]", "seq_lens[1]=5", "6")),
    ({"extend_lens": torch.tensor([9, 0])}, ValueError, ("extend_lens[1]", "0 < extend", "got 0")),
    (
        {"extend_lens": torch.tensor([-1, 5])},
        ValueError,
        ("extend_lens[0]", "0 < extend", "got -1"),
    ),
    ({"extend_lens": torch.tensor([4, 4])}, ValueError, ("extend_lens", "num_q_tokens=9", "got 8")),
    ({"num_q_tokens": 10}, ValueError, ("extend_lens", "num_q_tokens=10", "got 9")),
    ({"num_q_tokens": -1}, ValueError, ("num_q_tokens", "positive", "got -1")),
    ({"num_q_tokens": "9"}, TypeError, ("num_q_tokens", "an int", "'9'")),
    ({"num_q_tokens": 9.0}, TypeError, ("num_q_tokens", "an int", "9.0")),
    ({"num_q_tokens": (1 << 24) + 1}, ValueError, ("num_q_tokens", "at most 16777216", "16777217")),
    ({"pad_to": -3}, ValueError, ("pad_to", "positive", "got -3")),
    ({"pad_to": 4}, ValueError, ("pad_to", "do not fit in 4", "9 writes")),
]
PAGED = [
    ({"swa_page_size": 0}, ValueError, ("swa_page_size", "positive", "got 0")),
    ({"swa_page_size": -64}, ValueError, ("swa_page_size", "positive", "got -64")),
    ({"swa_page_size": 60}, ValueError, ("swa_page_size", "multiple of ring_size=8", "got 60")),
    ({"swa_page_size": "64"}, TypeError, ("swa_page_size", "an int", "'64'")),
    ({"ring_size": 0}, ValueError, ("ring_size", "positive", "got 0")),
    ({"ring_size": True}, TypeError, ("ring_size", "an int", "True")),
    ({"ring_size": 2}, ValueError, ("ring_size", "multiple of the ratio 4", "got 2")),
    (
        {"req_to_token": torch.zeros(2, 64, dtype=torch.int64)},
        TypeError,
        ("req_to_token", "int32", "int64"),
    ),
    (
        {"req_to_token": torch.zeros(2).int()},
        ValueError,
        ("req_to_token", "[slots, max_len]", "[2]"),
    ),
    (
        {"req_to_token": torch.zeros(64, 2).int().t()},
        ValueError,
        ("req_to_token", "[row stride, 1]", "strides [1, 2]"),
    ),
    ({"full_to_swa": torch.zeros(9)}, TypeError, ("full_to_swa", "int64 or int32", "float32")),
]


def _fails(call: Any, error: type[Exception], parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("change, error, parts", [*BOTH, *PREFILL])
def test_prefill_errors(change: dict[str, Any], error: type[Exception], parts: Any) -> None:
    _fails(lambda: _plan(**change), error, parts)


@pytest.mark.parametrize("change, error, parts", BOTH)
def test_decode_errors(change: dict[str, Any], error: type[Exception], parts: Any) -> None:
    _fails(lambda: _decode(**change), error, parts)


@pytest.mark.parametrize("change, error, parts", PAGED)
def test_scheme_errors(change: dict[str, Any], error: type[Exception], parts: Any) -> None:
    _fails(lambda: _plan(scheme=_tables(**change)), error, parts)
    _fails(lambda: _decode(scheme=_tables(**change)), error, parts)


@pytest.mark.parametrize("ring, error", [(0, ValueError), (-8, ValueError), ("8", TypeError)])
def test_request_ring_errors(ring: Any, error: type[Exception]) -> None:
    _fails(lambda: wavejit.RequestRing(ring), error, ("ring_size", str(ring)))
