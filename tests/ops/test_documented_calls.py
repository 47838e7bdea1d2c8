"""The public interface as it is documented: names, order, forms, other libraries' tensors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wavejit
from wavejit.layouts import FlashMLA, IndexerFp4, TwoPool
from wavejit.testing import assert_same_bytes, inputs

sys.path.insert(0, str(Path(__file__).parents[1] / "house"))
from test_interface import SIGNATURES

# Ops without a tensor among their arguments, and the planners, which the others' calls use.
WITHOUT_CALL = {"rope_table", "compress_plan_decode", "compress_plan_prefill"}


def test_layouts_are_there_without_another_import() -> None:
    """In a process that only imported the package."""
    text = "import wavejit; print(wavejit.layouts.FlashMLA(64).page_bytes, wavejit.arch.names()[0])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout.split()[0] == "37440", done.stderr


def _arguments() -> dict[str, Any]:
    """Of every cache op and every op on numbers, as numpy arrays and plain values."""
    table = wavejit.rope_table(40, base=10000.0)
    return {
        "x": inputs.normal(1, (6, 512)).numpy(),
        "keys": inputs.normal(2, (6, 128)).numpy(),
        "weight": inputs.normal(3, (512,)).numpy(),
        "table": table.numpy(),
        "loc": np.array([3, 0, -1, 7, 1 << 40, 9]),
        "positions": np.array([0, 39, 7, -1, 1 << 50, 3], dtype=np.int64),
        "heads": inputs.normal(4, (6, 2, 64)).numpy(),
        "gates": inputs.normal(5, (2, 3, 512)).numpy(),
        "counts": np.array([3, 1], dtype=np.int32),
        "latent": FlashMLA(5, "fn").empty(20).numpy(),
        "fp4": IndexerFp4(5).empty(20).numpy(),
        "codes": np.arange(256, dtype=np.uint8),
        "logits": inputs.normal(6, (6, 16)).numpy(),
        "tid2eid": inputs.integers(7, (9, 4), 0, 16).int().numpy(),
        "ids": inputs.integers(8, (6, 4), 0, 16).int().numpy(),
        "slots": np.arange(6),
        "pooled": np.zeros((6, 128), dtype=np.float32),
        "lengths": np.array([4, 8, 5, 12, 4, 7]),
        "state": inputs.normal(9, (12, 4, 512)).numpy(),
        "rows": inputs.normal(10, (6, 512)).numpy(),
        "ape": inputs.normal(11, (8, 128)).numpy(),
        "candidates": inputs.normal(12, (3, 8, 64)).numpy(),
        "floats": np.zeros((6, 512), dtype=np.float32),
        "queries": inputs.normal(13, (6, 2, 512)).half().numpy(),
        "indexer": inputs.normal(14, (6, 2, 128)).half().numpy(),
        "weights": inputs.normal(15, (6, 2)).half().numpy(),
        "kv": inputs.normal(16, (6, 512)).half().numpy(),
        "half": inputs.normal(17, (512,)).half().numpy(),
    }


def _plan(a: dict[str, Any]) -> Any:
    slots = a["lengths"] * 0 + a["slots"]
    return wavejit.compress_plan_decode(4, slots, a["lengths"], scheme=wavejit.RequestRing(8))


def _finishing(a: dict[str, Any]) -> dict[str, Any]:
    given = {"norm_weight": a["weight"][:128], "freqs_cis": a["table"], "out_loc": a["loc"]}
    return {**given, "ratio": 4, "eps": 1e-6, "cache": a["fp4"], "layout": _FP4}


def _keys(a: dict[str, Any]) -> tuple[Any, ...]:
    return a["kv"], a["half"], a["table"], a["positions"], a["loc"], a["latent"]


Call = Callable[[dict[str, Any]], Any]
_LATENT, _FP4 = FlashMLA(5, "fn"), IndexerFp4(5)
_LATENT_EPS: dict[str, Any] = {"q_eps": 1e-6, "kv_eps": 1e-6, "layout": _LATENT}
CALLS: dict[str, Call] = {
    "store_cache": lambda a: wavejit.store_cache(
        a["x"], a["latent"], a["loc"], layout=FlashMLA(flavour="fn"), page_size=5
    ),
    "store_cache fp4": lambda a: wavejit.store_cache(a["keys"], a["fp4"], a["loc"], layout=_FP4),
    "load_cache": lambda a: wavejit.load_cache(a["latent"], a["loc"], layout=_LATENT),
    "load_cache out": lambda a: wavejit.load_cache(
        a["latent"], a["loc"], layout=_LATENT, out=a["floats"]
    ),
    "convert_cache": lambda a: wavejit.convert_cache(a["latent"], _LATENT, FlashMLA(5, "fnuz")),
    "fp8_encode": lambda a: wavejit.fp8_encode(a["x"], flavour="fn"),
    "fp8_decode": lambda a: wavejit.fp8_decode(a["codes"], "fnuz"),
    "rmsnorm_fp8_quant": lambda a: wavejit.rmsnorm_fp8_quant(
        a["x"], a["weight"], np.float32(1e-6), flavour="fn"
    ),
    "rope_inplace": lambda a: wavejit.rope_inplace(a["heads"], None, a["table"], a["positions"]),
    "norm_rope_inplace": lambda a: wavejit.norm_rope_inplace(
        a["x"], a["weight"], a["table"], a["positions"], eps=1e-6
    ),
    "hash_topk": lambda a: wavejit.hash_topk(a["logits"], a["loc"], a["tid2eid"]),
    "mask_topk_ids": lambda a: wavejit.mask_topk_ids(a["ids"], 2),
    "topk_page_table": lambda a: wavejit.topk_page_table(
        a["logits"], a["lengths"], a["ids"], 2, page_size=4
    ),
    "softmax_pool": lambda a: wavejit.softmax_pool(a["candidates"], 32),
    "compress": lambda a: wavejit.compress(
        a["state"], a["rows"], a["ape"], _plan(a), head_dim=128, ratio=4, out=a["pooled"]
    ),
    "compress_norm_rope_store": lambda a: wavejit.compress_norm_rope_store(
        a["keys"], _plan(a), **_finishing(a)
    ),
    "compress_store": lambda a: wavejit.compress_store(
        a["state"], a["rows"], a["ape"], _plan(a), head_dim=128, **_finishing(a)
    ),
    "q_norm_rope": lambda a: wavejit.q_norm_rope(
        a["queries"], a["table"], a["positions"], eps=1e-6, out=a["queries"]
    ),
    "k_norm_rope_store": lambda a: wavejit.k_norm_rope_store(*_keys(a), eps=1e-6, layout=_LATENT),
    "qk_norm_rope_store": lambda a: wavejit.qk_norm_rope_store(
        a["queries"], *_keys(a), **_LATENT_EPS, out=a["queries"], kv_out=a["kv"]
    ),
    "q_indexer_rope_hadamard_quant": lambda a: wavejit.q_indexer_rope_hadamard_quant(
        a["indexer"], a["weights"], 0.011, a["table"], a["positions"], flavour="fn"
    ),
    "silu_mul_quant": lambda a: wavejit.silu_mul_quant(
        a["gates"], a["counts"], group_size=128, scale_format="fp32", limit=None, flavour="fn"
    ),
}


def test_every_op_is_among_the_calls() -> None:
    assert {name.split()[0] for name in CALLS} | WITHOUT_CALL == set(SIGNATURES)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("host")
def test_tensors_of_another_library(name: str) -> None:
    """numpy's arrays come in through DLPack and share their memory; torch's give the same bytes."""
    theirs, ours = _arguments(), {k: torch.from_numpy(v) for k, v in _arguments().items()}
    for given in (theirs, ours):
        made = CALLS[name](given)
        given["made"] = torch.zeros(0) if made is None else made
    made = [_tensors(given["made"]) for given in (theirs, ours)]
    if name == "silu_mul_quant":  # rows that no expert has are not written
        made = [[part[0] for part in parts] for parts in made]
    for one, other in zip(*made, strict=True):
        assert_same_bytes(one, other)
    for key in ("latent", "fp4", "x", "heads", "floats", "ids", "state", "pooled", "queries", "kv"):
        assert_same_bytes(torch.from_numpy(theirs[key]), ours[key], key)


def _tensors(made: Any) -> list[Any]:
    parts = [part for part in (made if isinstance(made, tuple) else (made,)) if part is not None]
    found = [torch.from_numpy(p) if isinstance(p, np.ndarray) else p for p in parts]
    return [part.view(torch.uint8) if part.itemsize == 1 else part for part in found]


class Unshareable:
    """Says that it can be shared, and cannot."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("on another planet")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


X, LOC, CACHE = torch.zeros(3, 512), torch.arange(3), FlashMLA(64).empty(64)
CODES, TABLE = torch.zeros(3, dtype=torch.uint8), torch.ones(4, 32, dtype=torch.complex64)
LAYOUT: dict[str, Any] = {"layout": FlashMLA(64)}
GROUPS: dict[str, Any] = {"group_size": 128, "scale_format": "fp32"}
NO_FLAVOUR = "flavour: expected one of fn, fnuz, got "
NO_TENSOR = "out: expected a torch tensor, got "
REFUSED: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("compress", (X, X, X, None), {"head_dim": 128, "ratio": 4}, TypeError, "plan: expected what"),
    ("compress", (X, 3, X, None), {"head_dim": 128, "ratio": 4}, TypeError, "kv_input: expected a"),
    ("softmax_pool", ([X], 32), {}, TypeError, "kv_score: expected a torch tensor, got list"),
    ("store_cache", (Unshareable(), CACHE, LOC), LAYOUT, TypeError, "x: torch cannot share this"),
    ("load_cache", (CACHE, LOC[1]), LAYOUT, ValueError, r"loc: expected a vector .*shape \[\]"),
    ("load_cache", (CACHE, LOC), {**LAYOUT, "out": 3}, TypeError, NO_TENSOR + "int"),
    ("load_cache", ([CACHE] * 2, LOC), LAYOUT, ValueError, "cache: expected 1 tensors"),
    ("fp8_encode", (X, 3), {}, ValueError, NO_FLAVOUR + "3"),
    ("fp8_encode", (X, "fn"), {"out": [1]}, TypeError, NO_TENSOR + "list"),
    ("fp8_encode", (X, "fn"), {"out": X[:2]}, ValueError, r"out: expected contiguous \[3, 512\]"),
    ("fp8_decode", (CODES, "e4m3"), {}, ValueError, NO_FLAVOUR + "'e4m3'"),
    ("fp8_decode", (CODES, "fn"), {"dtype": "float"}, TypeError, "dtype: expected a torch.dtype"),
    ("fp8_decode", (CODES, "fn"), {"out": 3}, TypeError, NO_TENSOR + "int"),
    ("rmsnorm_fp8_quant", (X, X[0], 1e-6), {"group_size": 128.0}, ValueError, "group_size: exp"),
    ("rmsnorm_fp8_quant", (X, X[0], 1e-6), {"flavour": 1}, ValueError, NO_FLAVOUR + "1"),
    ("rmsnorm_fp8_quant", (X, X[0], 1e-6), {"out": X}, TypeError, r"out: expected \(y_fp8, sc"),
    ("rmsnorm_fp8_quant", (X, X[0], 1e-6), {"out": (CODES, X, X)}, ValueError, "y.*: wrong"),
    ("rope_inplace", (X[0, 0], None, TABLE, LOC), {}, ValueError, "q's rank: expected one of 3"),
    ("norm_rope_inplace", (X[0], X[0], TABLE, LOC), {"eps": 0.1}, ValueError, "kv.* rank: exp"),
    ("Yarn", (), {"factor": 0}, ValueError, "yarn's factor: expected a finite number above 0"),
    ("Yarn", (), {"beta_slow": "x"}, TypeError, "yarn's beta_slow: expected a number, got 'x'"),
    ("rope_cos_sin", (TABLE, "bf16"), {}, TypeError, "dtype: expected a floating torch.dtype, g"),
    ("rope_cos_sin", (TABLE, torch.int32), {}, TypeError, "dtype: expected a floating"),
    ("silu_mul_quant", (X[None],), {**GROUPS, "flavour": 2}, ValueError, NO_FLAVOUR + "2"),
    ("silu_mul_quant", (X[None],), {**GROUPS, "out": (None, X)}, TypeError, r"out\[0\]: expec"),
    ("silu_mul_quant", (X[None],), {**GROUPS, "out": X}, TypeError, "out: expected the pair"),
]


@pytest.mark.parametrize("name, given, options, error, text", REFUSED)
@pytest.mark.usefixtures("host")
def test_what_is_refused(
    name: str, given: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """With an error that names the argument, what was expected and what came."""
    with pytest.raises(error, match=text):
        getattr(wavejit, name)(*given, **options)


@pytest.mark.usefixtures("host")
def test_a_pair_may_be_a_list() -> None:
    """Of pools, in every op that takes a cache."""
    fn, fnuz = TwoPool(flavour="fn"), TwoPool(flavour="fnuz")
    x, loc = inputs.normal(1, (4, 512)), torch.arange(4)
    pair, listed = fn.empty(4), list(fn.empty(4))
    for cache in (pair, listed):
        wavejit.store_cache(x, cache, loc, layout=fn)
        wavejit.convert_cache(cache, fn, fnuz)
    assert_same_bytes(*(wavejit.load_cache(cache, loc, layout=fnuz) for cache in (pair, listed)))
    assert_same_bytes(listed[0], pair[0])


def test_outputs_that_are_given(device: str) -> None:
    """rmsnorm_fp8_quant fills what it is given: scales of any strides, codes as bytes or float8."""
    x, weight = inputs.normal(1, (5, 256)).to(device), inputs.normal(2, (256,)).to(device)
    made = wavejit.rmsnorm_fp8_quant(x, weight, 1e-6, flavour="fn")
    codes = torch.empty(5, 256, dtype=torch.uint8, device=device)
    wide = torch.zeros(5, 6, device=device)
    out = codes, wide[:, ::3], torch.empty_like(x)
    assert wavejit.rmsnorm_fp8_quant(x, weight, 1e-6, flavour="fn", out=out) is out
    assert_same_bytes(codes, made[0].view(torch.uint8))
    assert_same_bytes(wide[:, ::3], made[1])
    assert_same_bytes(out[2], made[2])
    assert not wide[:, 1].any() and not wide[:, 2].any()
