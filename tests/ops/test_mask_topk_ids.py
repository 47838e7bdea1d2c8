"""mask_topk_ids: rows from the count on become -1, whatever form the count has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs


@pytest.mark.parametrize("count", [-3, 0, 1, 6, 13, 14, 2**40])
@pytest.mark.parametrize("form", ["int", "int32", "int64", "cpu"])
def test_masking(device: str, count: int, form: str) -> None:
    ids = inputs.integers(1, (13, 6), 0, 256, torch.int32)
    given = guarded(ids, device=device, row_stride=9)
    num: Any = count
    if form != "int":
        kind = torch.int32 if form == "int32" else torch.int64
        num = torch.tensor(count).clamp(-(2**31), 2**31 - 1).to(kind)
        num = num if form == "cpu" else num.to(device)
    assert wavejit.mask_topk_ids(given.tensor, num) is given.tensor
    assert_same_bytes(given.tensor, reference.mask_topk_ids(ids.clone(), count))
    given.check()


def test_masking_refuses() -> None:
    ids = torch.zeros(3, 2, dtype=torch.int32)
    for wrong, count, error, text in (
        (ids.long(), 1, TypeError, "ids"),
        (ids, torch.zeros(2, dtype=torch.int32), ValueError, "num_valid: expected one number"),
        (ids, 1.5, TypeError, "num_valid"),
        (ids, torch.zeros(1), TypeError, "num_valid"),
    ):
        with pytest.raises(error, match=text):
            wavejit.mask_topk_ids(wrong, count)
