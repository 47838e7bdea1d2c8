"""A cache that one machine wrote is the other's: the host in waves of 32, and every target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cache_cases import STORES, filled, on_cpu, raw, rows, settled

import wavejit
from wavejit.testing import assert_same_bytes, inputs

COUNT = 40


def sent(cache: Any, device: str) -> Any:
    """The cache's bytes, carried to the device."""
    return tuple(p.to(device) for p in cache) if isinstance(cache, tuple) else cache.to(device)


def by_the_host(function: Any, *given: Any, **options: Any) -> Any:
    with wavejit.arch.using("host_w32"):
        return function(*given, **options)


def assert_same_cache(ours: Any, theirs: Any) -> None:
    for one, other in zip(raw(ours), raw(theirs), strict=True):
        assert_same_bytes(one, other)


@pytest.mark.parametrize("name", STORES)
def test_stored_there_and_read_here(device: str, name: str) -> None:
    """Host writes, device reads; device writes, host reads; both write the same bytes."""
    layout, dtype = settled(name), STORES[name][1]
    x = rows(21, COUNT, layout, dtype)
    loc = inputs.permutation(22, 2 * COUNT)[:COUNT]
    loc[5], loc[6] = -1, 1 << 40
    there = loc.to(device)
    start = on_cpu(filled(layout, 2 * COUNT, "cpu")[0])
    hosts = by_the_host(wavejit.store_cache, x, on_cpu(start), loc, layout=layout)
    devices = wavejit.store_cache(x.to(device), sent(start, device), there, layout=layout)
    assert_same_cache(devices, hosts)
    read_here = wavejit.load_cache(sent(hosts, device), there, layout=layout)
    read_there = by_the_host(wavejit.load_cache, on_cpu(devices), loc, layout=layout)
    assert_same_bytes(read_here, read_there)
    assert read_there.abs().nan_to_num().sum() > 0


@pytest.mark.parametrize("name", ["flashmla-64", "two-pool", "indexer-64"])
def test_converted_there_and_back_here(device: str, name: str) -> None:
    """The host's FN becomes the device's FNUZ, and the host's FN again."""
    layout, dtype = settled(name), STORES[name][1]
    other = replace(layout, flavour="fnuz", fp8_max=None).at()
    x, loc = inputs.normal(23, (COUNT, layout.DIMS)).to(dtype), torch.arange(COUNT)
    first = by_the_host(wavejit.store_cache, x, layout.empty(COUNT), loc, layout=layout)
    values = by_the_host(wavejit.load_cache, first, loc, layout=layout)
    devices = wavejit.convert_cache(sent(on_cpu(first), device), layout, other)
    values += 0.0  # FNUZ has no -0; all other signs stay
    assert_same_bytes(wavejit.load_cache(devices, loc.to(device), layout=other) + 0.0, values)
    back = by_the_host(wavejit.convert_cache, on_cpu(devices), other, layout)
    again = by_the_host(wavejit.load_cache, back, loc, layout=layout)
    assert_same_bytes(again + 0.0, values)
