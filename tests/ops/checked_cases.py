"""What a checked build reports of each call of checked_calls with bad indices."""

from __future__ import annotations

import checked_calls as calls

# the kernel's name ("*": any of those, by chip and size) and the index -> how many, the first
# row, its value there
Expected = dict[tuple[str, str], tuple[int, int, int]]
PAGE, PLACE, TOKEN = "page in the plan", "state location in the plan", "token or count in the plan"
CASES: dict[str, tuple[calls.Call, Expected]] = {
    "store": (calls.store, {("store_cache_small", "location"): (3, 2, 200)}),
    "store-many": (calls.store_many, {("store_cache", "location"): (3, 1501, 8000)}),
    "load-many": (calls.load_many, {("load_cache", "location"): (3, 1501, 8000)}),
    "load": (calls.load, {("load_cache_small", "location"): (2, 3, 128)}),
    "keys": (
        calls.keys,
        {
            ("k_norm_rope_store_few", "positions"): (1, 4, -3),
            ("k_norm_rope_store_few", "location"): (1, 3, 128),
        },
    ),
    "keys-many": (
        calls.many_keys,
        {
            ("k_norm_rope_store", "positions"): (2, 10, calls.HUGE),
            ("k_norm_rope_store", "location"): (2, 20, 1088),
        },
    ),
    "queries": (calls.queries, {("q_norm_rope_few", "positions"): (2, 1, 100)}),
    "queries-and-keys": (
        calls.queries_and_keys,
        {
            ("qk_norm_rope_store_few", "positions"): (3, 1, -77),
            ("qk_norm_rope_store_few", "location"): (1, 3, 128),
        },
    ),
    "queries-and-keys-many": (
        calls.many_queries_and_keys,
        {
            ("qk_norm_rope_store", "positions"): (3, 7, -77),
            ("qk_norm_rope_store", "location"): (2, 20, 320),
        },
    ),
    "queries-rotated": (calls.rotated, {("q_rope_inplace", "positions"): (2, 1, 100)}),
    "indexer-queries": (
        calls.indexer_queries,
        {("q_indexer_few", "positions"): (2, 1, calls.HUGE)},
    ),
    "indexer-queries-more": (
        calls.more_indexer_queries,
        {("q_indexer_some", "positions"): (2, 1, calls.HUGE)},
    ),
    "indexer-queries-many": (
        calls.many_indexer_queries,
        {("q_indexer_rope_hadamard_quant", "positions"): (2, 1, calls.HUGE)},
    ),
    "rope": (calls.in_place, {("rope_inplace_small", "positions"): (2, 1, 100)}),
    "rope-pairs": (calls.pairs_in_place, {("rope_inplace_pairs", "positions"): (2, 1, 100)}),
    "norm-rope": (calls.norm_in_place, {("norm_rope_inplace", "positions"): (2, 1, 100)}),
    "routing": (
        calls.routing,
        {("hash_topk", "token_ids"): (3, 1, -1), ("hash_topk", "tid2eid"): (4, 2, -9)},
    ),
    "mask": (calls.masked, {("mask_topk_ids", "count of valid rows"): (1, 0, 10)}),
    "activation": (calls.activation, {("silu_mul_quant", "count of valid rows"): (2, 1, -1)}),
    "topk": (
        calls.selected,
        {
            ("topk_*", "length"): (2, 1, 301),
            ("topk_*", "request"): (1, 2, 4),
            ("topk_*", "page_table"): (6, 0, 1 << 30),
        },
    ),
    "topk-long": (
        calls.selected_long,
        {
            ("topk_*", "length"): (2, 1, 20_001),
            ("topk_*", "request"): (1, 2, 4),
            ("topk_*", "page_table"): (7, 0, 1 << 30),
        },
    ),
    "topk-short-table": (calls.short_table, {("topk_*", "length"): (1, 1, 257)}),
    "plan-step": (
        calls.planned_step,
        {
            ("decode_plan", "positions"): (1, 3, 40),
            ("decode_plan", "request"): (2, 2, 2),
            ("decode_plan", "req_to_token"): (1, 1, 80),
        },
    ),
    "plan-chunk": (
        calls.planned_chunk,
        {
            ("prefill_plan", "length"): (1, 1, 7),
            ("prefill_plan", "num_q_tokens"): (6, 2, 18),
            ("prefill_plan", "full_to_swa"): (1, 1, 1 << 33),
        },
    ),
    "online-plan-step": (
        calls.online_plans,
        {
            ("online_decode_plan", "length"): (1, 2, -2),
            ("online_decode_plan", "request"): (1, 1, -1),
        },
    ),
    "online-plan-chunk": (
        calls.online_planned,
        {
            ("online_chunk_plan", "length"): (1, 1, 6),
            ("online_chunk_plan", "request"): (1, 2, -1),
            ("online_chunk_plan", "num_q_tokens"): (1, 12, 12),
        },
    ),
    "online-step": (
        calls.online_step,
        {("online_decode", PAGE): (1, 5, 4), ("online_decode", PLACE): (1, 4, 4)},
    ),
    "online-chunk": (
        calls.online_chunk,
        {
            ("online_prefill", TOKEN): (3, 1, -1),
            ("online_prefill", PAGE): (1, 3, 4),
            ("online_prefill", PLACE): (1, 2, 4),
        },
    ),
    "online-commit": (
        calls.committed,
        {("online_commit", "request"): (1, 1, 3), ("online_commit", "accepted"): (1, 2, 3)},
    ),
}
for _ratio in (4, 128):
    _last, _name = 4 * _ratio, f"c{_ratio}"
    CASES[f"{_name}-step"] = (
        calls.compressed(_ratio, True),
        {(f"{_name}_decode*", PAGE): (2, 5, 4), (f"{_name}_decode*", PLACE): (1, 4, _last)},
    )
    CASES[f"{_name}-chunk"] = (
        calls.compressed(_ratio, False),
        {
            (f"{_name}_prefill", PAGE): (1, 6, 4),
            (f"{_name}_prefill", TOKEN): (3, 3, 2 * _ratio),
            (f"{_name}_write", PLACE): (1, 5, _last),
            (f"{_name}_write", TOKEN): (1, 4, 2 * _ratio),
        },
    )
    for _fused, _prefix in ((True, f"{_name}_store"), (False, "store")):
        CASES[f"{_name}-step-{_prefix}"] = (
            calls.stored(_ratio, True, _fused),
            {
                (f"{_prefix}_step*", "positions"): (1, 4, _last),
                (f"{_prefix}_step*", "location"): (1, 1, 128),
            },
        )
        _pools = f"{_prefix}_chunk"
        _writes = f"{_prefix}_write"
        _chunk: Expected = {(_pools, "location"): (1, 1, 128)}
        if _fused:
            _chunk[_pools, "positions"] = (1, 4, _last)
            _chunk[_writes, TOKEN] = (1, 2, 9)
            _chunk[_writes, PLACE] = (1, 3, 4 * _ratio)
        else:
            _chunk[_pools, TOKEN] = (1, 4, 4)
        CASES[f"{_name}-chunk-{_prefix}"] = (calls.stored(_ratio, False, _fused), _chunk)
