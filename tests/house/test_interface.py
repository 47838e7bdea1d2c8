"""The public interface as users, servers and the definition rely on it: names, order, defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import wavejit
from wavejit.front import OFFERED
from wavejit.ops import public

# op -> arguments that may be given by position, in order | those given by name; "=" has a default
SIGNATURES = {
    "compress_plan_decode": "ratio, req_pool_indices, seq_lens | scheme",
    "compress_plan_prefill": (
        "ratio, req_pool_indices, seq_lens, extend_lens | scheme, num_q_tokens, pad_to="
    ),
    "compress": "kv_buffer, kv_input, ape, plan | head_dim, ratio, out=",
    "compress_norm_rope_store": (
        "kv, plan | ratio, norm_weight, eps, freqs_cis, out_loc, cache, layout, page_size="
    ),
    "compress_store": (
        "kv_buffer, kv_input, ape, plan | head_dim, ratio, norm_weight, eps, freqs_cis, out_loc, "
        "cache, layout, page_size="
    ),
    "softmax_pool": "kv_score, head_dim, out=",
    "q_norm_rope": "q, freqs_cis, positions | eps, out=",
    "k_norm_rope_store": (
        "kv, weight, freqs_cis, positions, out_loc, cache | eps, page_size=, layout"
    ),
    "q_indexer_rope_hadamard_quant": "q, weight, weight_scale, freqs_cis, positions | out=",
    "qk_norm_rope_store": (
        "q, kv, kv_weight, freqs_cis, positions, out_loc, cache | q_eps, kv_eps, page_size=, "
        "layout, out="
    ),
    "rmsnorm_fp8_quant": "x, weight, eps | group_size=, scale_format=, scale_layout=, out=",
    "rope_inplace": "q, k, freqs_cis, positions | inverse=",
    "norm_rope_inplace": "kv, weight, freqs_cis, positions | eps",
    "rope_table": "max_positions | base, yarn=",
    "store_cache": "x, cache, loc | layout, page_size=",
    "load_cache": "cache, loc | layout, page_size=, out=",
    "convert_cache": "cache, src_layout, dst_layout | out=",
    "hash_topk": "logits, token_ids, tid2eid | shared_experts=, routed_scaling_factor=",
    "mask_topk_ids": "ids, num_valid",
    "topk_page_table": "scores, seq_lens, page_table, k | page_size=, out=, raw_out=",
    "silu_mul_quant": "x, masked_m | group_size=, scale_format=, limit=",
    "fp8_encode": "x, flavour=",
    "fp8_decode": "bytes_, flavour",
}
# Rearrangements of tensors, which are their own definition, and a view of a table.
WITHOUT_REFERENCE = {"overlap_transform", "rearrange_ape", "rope_cos_sin"}


def ops() -> list[str]:
    offered = sorted({*OFFERED, *public()})
    return [name for name in offered if inspect.isfunction(getattr(wavejit, name))]


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_call_is_taken_as_documented(name: str) -> None:
    """Every argument by its place or name; those with a default may be left out."""
    signature = inspect.signature(getattr(wavejit, name))
    ordered, _, named = SIGNATURES[name].partition(" | ")
    places = [part.strip() for part in ordered.split(",") if part.strip()]
    keywords = [part.strip() for part in named.split(",") if part.strip()]
    values: dict[str, Any] = {part.rstrip("="): object() for part in places + keywords}
    given = {part.rstrip("="): values[part.rstrip("=")] for part in keywords}
    bound = signature.bind(*(values[part.rstrip("=")] for part in places), **given)
    taken = list(signature.parameters)
    if name not in ("fp8_decode",):  # its first argument may have any name
        assert dict(bound.arguments) == values
        assert taken[: len(places)] == [part.rstrip("=") for part in places]
    few = [object() for part in places if not part.endswith("=")]
    signature.bind(*few, **{part: object() for part in keywords if not part.endswith("=")})


@pytest.mark.parametrize("name", ops())
def test_the_definition_has_the_ops_signature(name: str) -> None:
    if name in WITHOUT_REFERENCE:
        with pytest.raises(AttributeError, match=f"no reference for '{name}'"):
            getattr(wavejit.reference, name)
        return
    op, definition = getattr(wavejit, name), getattr(wavejit.reference, name)
    sides = [
        [(p.name, p.kind, p.default) for p in inspect.signature(one).parameters.values()]
        for one in (op, definition)
    ]
    assert sides[0] == sides[1]


@pytest.mark.parametrize("name", ["kernels", "prebuild", "warmup", "explain", "index_reports"])
def test_the_rest_of_the_package(name: str) -> None:
    assert callable(getattr(wavejit, name)) and getattr(wavejit, name).__doc__
