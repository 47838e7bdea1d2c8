"""The scales of empty and full groups under every largest code and floor, and what a flavour's
bytes mean to torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cache_cases import STORES, settled

import wavejit
from wavejit.layouts import FlashMLA
from wavejit.testing import inputs


def exponent(amax: float, largest: float) -> int:
    """UE8M0 of the least power of two not below amax / largest."""
    return 127 + math.ceil(math.log2(amax / largest))


@pytest.mark.parametrize("name", ["flashmla-64", "flashmla-2", "flashmla-100", "flashmla-1"])
def test_scales_of_empty_and_of_full_groups(device: str, name: str) -> None:
    """448, 240 and 224; floors 1e-4 and 1e-8: a group of zeros, of one value, of that and more."""
    layout: Any = settled(name)
    largest, floor = layout.fp8_max or 448, layout.amax_floor
    values = [0.0, largest, largest / 4, 1.0, 3.0, floor / 2, 1e-3]
    x = torch.zeros(1, 512)
    for group, value in enumerate(values):
        x[0, 64 * group : 64 * group + 64] = value
    x = x.to(STORES[name][1])
    cache = layout.empty(layout.page_size, device=device)
    loc = torch.tensor([layout.page_size - 1], device=device)
    wavejit.store_cache(x.to(device), cache, loc, layout=layout)
    page = cache.cpu().reshape(-1)
    at = layout.page_size * 576 + (layout.page_size - 1) * 8
    found = page[at : at + 7].tolist()
    amax = [max(float(x[0, 64 * group]), floor) for group in range(7)]
    assert found == [exponent(value, largest) for value in amax]
    codes = page[(layout.page_size - 1) * 576 :][:448].reshape(7, 64)
    assert (codes == codes[:, :1]).all()  # a group of one value has one code
    kind = torch.float8_e4m3fn if layout.flavour == "fn" else torch.float8_e4m3fnuz
    full = codes[1, :1].view(kind).float().item()
    assert full == largest and found[1] == 127


def test_a_flavours_bytes_are_torchs(device: str) -> None:
    """What the device's own flavour stores, torch's dtype of that flavour reads back."""
    x = inputs.normal(3, (9, 512)).bfloat16()
    own = wavejit.arch.detect(torch.zeros(1, device=device))
    flavour = wavejit.arch.load(own).fp8_flavour
    cache = FlashMLA(64).empty(64, device=device)
    loc = torch.arange(9, device=device)
    wavejit.store_cache(x.to(device), cache, loc, layout=FlashMLA(), page_size=64)
    page = cache.cpu()[0]
    kind = torch.float8_e4m3fn if flavour == "fn" else torch.float8_e4m3fnuz
    codes = page[: 64 * 576].reshape(64, 576)[:9, :448].contiguous().view(kind).float()
    scales = page[64 * 576 :][: 64 * 8].reshape(64, 8)[:9, :7].int() - 127
    values = codes * torch.exp2(scales.float()).repeat_interleave(64, dim=1)
    wanted = x[:, :448].float()
    assert ((values - wanted).abs() <= wanted.abs() / 16 + 1e-3).all()
