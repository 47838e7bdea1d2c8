"""The state pool: geometry, sentinel, translations, and the planner's locations."""

from __future__ import annotations

from typing import Any

import plan_loop
import pytest
import torch

import wavejit
from wavejit.testing import assert_same_bytes, inputs

GOOD: dict[str, Any] = {
    "size": 40,
    "ratio": 4,
    "head_dim": 64,
    "swa_page_size": 64,
    "ring_size": 8,
}


def pool_of(device: str = "cpu", **changes: Any) -> Any:
    arguments = GOOD | {"device": device} | changes
    return wavejit.CompressStatePool(arguments.pop("size"), **arguments)


@pytest.mark.parametrize("ratio, width", [(4, 256), (128, 128)])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_shape_and_first_contents(device: str, ratio: int, width: int, dtype: Any) -> None:
    pool = pool_of(device, ratio=ratio, swa_page_size=256, ring_size=128, dtype=dtype, size=512)
    assert pool.kv_buffer.shape[1:] == (ratio, width)
    assert pool.kv_buffer.device.type == device
    assert pool.kv_buffer.dtype == (dtype or torch.float32)
    rows = pool.rows.cpu().float()
    assert len(rows) >= 512 + 128 + 1
    assert (rows[:, : width // 2] == 0).all()
    assert (rows[:, width // 2 :] == -torch.inf).all()
    assert pool.row_width == width
    assert pool.rows.data_ptr() == pool.kv_buffer.data_ptr()


ERRORS = [
    ({"size": 0}, ValueError, ("size", "positive", "got 0")),
    ({"size": -4}, ValueError, ("size", "positive", "got -4")),
    ({"size": 4.5}, TypeError, ("size", "an int", "4.5")),
    ({"ratio": 3}, ValueError, ("ratio", "4, 128", "got 3")),
    ({"ratio": 0}, ValueError, ("ratio", "4, 128", "got 0")),
    ({"head_dim": 0}, ValueError, ("head_dim", "positive", "got 0")),
    ({"head_dim": "512"}, TypeError, ("head_dim", "an int", "'512'")),
    ({"head_dim": True}, TypeError, ("head_dim", "an int", "True")),
    ({"swa_page_size": 0}, ValueError, ("swa_page_size", "positive", "got 0")),
    ({"swa_page_size": -64}, ValueError, ("swa_page_size", "positive", "got -64")),
    ({"swa_page_size": None}, TypeError, ("swa_page_size", "an int", "None")),
    ({"swa_page_size": 60}, ValueError, ("swa_page_size", "multiple of ring_size=8", "got 60")),
    ({"ring_size": 0}, ValueError, ("ring_size", "positive", "got 0")),
    ({"ring_size": -8}, ValueError, ("ring_size", "positive", "got -8")),
    ({"ring_size": 128}, ValueError, ("swa_page_size", "multiple of ring_size=128", "got 64")),
    ({"ring_size": 2}, ValueError, ("ring_size", "multiple of the ratio 4", "got 2")),
    ({"ratio": 128, "ring_size": 64}, ValueError, ("ring_size", "ratio 128", "got 64")),
    ({"dtype": torch.float16}, ValueError, ("dtype", "float32", "float16")),
    ({"dtype": torch.int32}, ValueError, ("dtype", "bfloat16", "int32")),
]


@pytest.mark.parametrize("change, error, parts", ERRORS)
def test_errors(change: dict[str, Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        pool_of(**change)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("missing", ["swa_page_size", "ring_size", "ratio", "head_dim"])
def test_geometry_has_no_defaults(missing: str) -> None:
    arguments = {name: value for name, value in GOOD.items() if name not in ("size", missing)}
    with pytest.raises(TypeError, match=missing):
        wavejit.CompressStatePool(40, **arguments)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_translations(device: str, dtype: Any) -> None:
    pool = pool_of(device)
    swa = torch.tensor([-1, -300, 0, 7, 8, 63, 64, 70, 319], dtype=dtype, device=device)
    expected = [-1, -1, 0, 7, 0, 7, 8, 14, 39]
    assert pool.translate_from_swa_loc_to_state_loc(swa).tolist() == expected
    slots = torch.tensor([0, 1, 4, 4, 2], dtype=dtype, device=device)
    positions = torch.tensor([0, 9, 63, -1, -8], dtype=dtype, device=device)
    expected = [0, 9, 39, -1, -1]
    assert pool.translate_from_req_position_to_state_loc(slots, positions).tolist() == expected


def test_translations_are_the_rules_locations(device: str) -> None:
    scheme = plan_loop.paged_ring(3, 200, 64, 8, seed=4)
    pool = pool_of(device, size=12 * 8)
    slots = inputs.integers(1, (50,), 0, 3)
    positions = inputs.integers(2, (50,), 0, 200)
    pairs = list(zip(slots.tolist(), positions.tolist()))
    swa = scheme.full_to_swa[scheme.req_to_token[slots, positions].long()]
    found = pool.translate_from_swa_loc_to_state_loc(swa.to(device))
    where = plan_loop.Locator(scheme)
    assert found.tolist() == [where(*pair) for pair in pairs]
    found = pool.translate_from_req_position_to_state_loc(slots.to(device), positions.to(device))
    where = plan_loop.Locator(wavejit.RequestRing(8))
    assert found.tolist() == [where(*pair) for pair in pairs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_get_and_set_keep_the_sentinel(device: str, dtype: Any) -> None:
    pool = pool_of(device, dtype=dtype)
    before = pool.rows.cpu().clone()
    values = inputs.normal(1, (4, 256)).to(device)
    locs = torch.tensor([5, -1, 0, 39], device=device)
    pool.set(locs, values)
    expected = before.clone()
    expected[[5, 0, 39]] = values.cpu()[[0, 2, 3]].to(dtype)
    assert_same_bytes(pool.rows, expected)
    got = pool.get(locs)
    assert_same_bytes(got[0], expected[5])
    assert_same_bytes(got[1], before[-1], "the sentinel")


def test_clear_requests(device: str) -> None:
    pool = pool_of(device, request_scoped=True)
    fresh = pool.rows.cpu().clone()
    pool.rows.fill_(3)
    pool.clear_requests(torch.tensor([1, 3], device=device))
    expected = torch.full_like(fresh, 3)
    for slot in (1, 3):
        expected[8 * slot : 8 * slot + 8] = fresh[8 * slot : 8 * slot + 8]
    assert_same_bytes(pool.rows, expected)


def test_clear_requests_needs_request_rings() -> None:
    with pytest.raises(ValueError, match="request-scoped"):
        pool_of().clear_requests(torch.tensor([0]))
