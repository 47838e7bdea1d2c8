"""The c4 compressor: decode step and prefill chunk (templates/c4_compress.cuh.j2)."""

from __future__ import annotations

from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__: list[str] = []  # users call wavejit.compress(..., ratio=4)
RATIO = 4
WINDOW = 8
HEAD_DIMS = tuple(range(64, 1025, 64))
DTYPES = ("float", "bfloat16")
_INVALID = 0xFFFFFFFF


def spec(head_dim: int, state: str, input: str, output: str) -> KernelSpec:
    """One instance: head_dim and the dtypes (float, bfloat16) of ring, input and output."""
    one_of("head_dim", head_dim, HEAD_DIMS)
    one_of("kv_buffer dtype", state, DTYPES)
    one_of("kv_input dtype", input, DTYPES)
    one_of(f"out dtype with a {input} input", output, tuple(dict.fromkeys((input, "bfloat16"))))
    return kernel_spec(
        "c4_compress",
        ("decode", "prefill"),
        head_dim=head_dim,
        state=state,
        input=input,
        output=output,
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """What a server of any DeepSeek-V4 calls: attention (512) and indexer (128), both states."""
    return [spec(dim, state, "float", "float") for dim in (512, 128) for state in DTYPES]


def prepare(kv_buffer: Any, kv_input: Any, out: Any, plan: Any, head_dim: int) -> Any:
    """The loaded function for these dtypes and this device."""
    names = [dtype_name(tensor.dtype) for tensor in (kv_buffer, kv_input, out)]
    module = module_for(spec(head_dim, *names), kv_input)
    return module.decode if plan.is_decode else module.prefill


def c4_compress_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, *, head_dim: int, out: Any
) -> Any:
    """The definition, row by row in float64; writes `kv_buffer` and `out` (all on the CPU)."""
    if plan.is_decode:
        return _decode_reference(kv_buffer, kv_input, ape, plan, head_dim, out)
    return _prefill_reference(kv_buffer, kv_input, ape, plan, head_dim, out)


def _fields(tensor: Any, signed: tuple[bool, ...]) -> list[tuple[int, ...]]:
    """Rows of 32-bit little-endian words as Python ints."""
    return [
        tuple(
            int.from_bytes(bytes(row[4 * i : 4 * i + 4]), "little", signed=s)
            for i, s in enumerate(signed)
        )
        for row in tensor.tolist()
    ]


def _pool_reference(rows: list[Any], ape: Any, head_dim: int, has_overlap: bool) -> Any:
    import torch

    values, scores = [], []
    for i in range(0 if has_overlap else RATIO, WINDOW):
        start = 0 if i < RATIO else head_dim
        row = rows[i].double()
        values.append(row[start : start + head_dim])
        score = row[2 * head_dim + start : 3 * head_dim + start]
        scores.append(score + ape[i].double())
    stacked = torch.stack(scores)
    weights = torch.softmax(stacked, dim=0)
    weights[:, (stacked == -torch.inf).all(dim=0)] = 0  # everything masked: the entry is 0
    return (weights * torch.stack(values)).sum(dim=0)


def _decode_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, head_dim: int, out: Any
) -> Any:
    ring = kv_buffer.reshape(-1, 4 * head_dim)
    pages = kv_buffer.shape[0]
    fields = _fields(plan.plan_d, (False, True, True, True))
    for i, (seq_len, loc, page_0, page_1) in enumerate(fields):
        if 0 <= loc < ring.shape[0]:
            ring[loc] = kv_input[i].to(ring.dtype)
        has_overlap = seq_len > RATIO
        if seq_len % RATIO or seq_len == 0 or not 0 <= page_1 < pages:
            continue
        if has_overlap and not 0 <= page_0 < pages:
            continue
        rows = [None] * WINDOW
        for k in range(0 if has_overlap else RATIO, WINDOW):
            page = page_0 if k < RATIO else page_1
            rows[k] = ring[page * RATIO + k % RATIO].to(kv_input.dtype)
        out[i] = _pool_reference(rows, ape, head_dim, has_overlap).to(out.dtype)
    return out


def _prefill_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, head_dim: int, out: Any
) -> Any:
    ring = kv_buffer.reshape(-1, 4 * head_dim)
    bits = 24 if plan.wide else 16
    for p, (seq_len, where, *pages) in enumerate(_fields(plan.plan_c, (False, False, True, True))):
        last, buffer_len = where & ((1 << bits) - 1), where >> bits
        if seq_len == _INVALID or last >= kv_input.shape[0] or buffer_len > WINDOW:
            continue
        rows: list[Any] = []
        has_overlap = seq_len > RATIO
        for i in range(WINDOW):
            if i < RATIO and not has_overlap:
                rows.append(None)
            elif i < buffer_len:
                page = pages[i // RATIO]
                inside = 0 <= page < kv_buffer.shape[0]
                rows.append(ring[page * RATIO + i % RATIO].to(kv_input.dtype) if inside else None)
            else:
                token = last - (WINDOW - 1) + i
                rows.append(kv_input[token] if token >= 0 else None)
        if any(row is None for row in rows[0 if has_overlap else RATIO :]):
            continue
        out[p] = _pool_reference(rows, ape, head_dim, has_overlap).to(out.dtype)
    for ragged, loc in _fields(plan.plan_w, (False, True)):
        if ragged < kv_input.shape[0] and 0 <= loc < ring.shape[0]:
            ring[loc] = kv_input[ragged].to(ring.dtype)
    return out
