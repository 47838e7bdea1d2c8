"""The c128 compressor: decode step and prefill chunk (templates/c128_compress.cuh.j2)."""

from __future__ import annotations

from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__: list[str] = []  # users call wavejit.compress(..., ratio=128)
RATIO = 128
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
        "c128_compress",
        ("decode", "prefill"),
        head_dim=head_dim,
        state=state,
        input=input,
        output=output,
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """What a server of any DeepSeek-V4 calls: attention only (512), both states."""
    return [spec(512, state, "float", "float") for state in DTYPES]


def prepare(kv_buffer: Any, kv_input: Any, out: Any, plan: Any, head_dim: int) -> Any:
    """The loaded function for these dtypes and this device."""
    names = [dtype_name(tensor.dtype) for tensor in (kv_buffer, kv_input, out)]
    module = module_for(spec(head_dim, *names), kv_input)
    return module.decode if plan.is_decode else module.prefill


def c128_compress_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, *, head_dim: int, out: Any
) -> Any:
    """The definition, row by row in float64; writes `kv_buffer` and `out` (all on the CPU)."""
    if plan.is_decode:
        return _decode_reference(kv_buffer, kv_input, ape, plan, head_dim, out)
    return _prefill_reference(kv_buffer, kv_input, ape, plan, head_dim, out)


def _words(tensor: Any) -> Any:
    """Plan rows as 32-bit words [rows, words] in int64, without a sign."""
    import torch

    bytes_ = tensor.long().reshape(tensor.shape[0], tensor.shape[1] // 4, 4)
    return (bytes_ << torch.tensor([0, 8, 16, 24])).sum(dim=2)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _pool_reference(window: Any, ape: Any, head_dim: int) -> Any:
    import torch

    scores = window[:, head_dim:].double() + ape.double()
    weights = torch.softmax(scores, dim=0)
    weights[:, (scores == -torch.inf).all(dim=0)] = 0  # everything masked: the entry is 0
    return (weights * window[:, :head_dim].double()).sum(dim=0)


def _decode_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, head_dim: int, out: Any
) -> Any:
    rows = kv_buffer.reshape(-1, 2 * head_dim)
    for i, (seq_len, *signed) in enumerate(_words(plan.plan_d).tolist()):
        loc, _, page = map(_signed, signed)
        if 0 <= loc < rows.shape[0]:
            rows[loc] = kv_input[i].to(rows.dtype)
        if seq_len % RATIO == 0 and seq_len > 0 and 0 <= page < kv_buffer.shape[0]:
            window = kv_buffer[page].to(kv_input.dtype)
            out[i] = _pool_reference(window, ape, head_dim).to(out.dtype)
    return out


def _prefill_reference(
    kv_buffer: Any, kv_input: Any, ape: Any, plan: Any, head_dim: int, out: Any
) -> Any:
    import torch

    rows = kv_buffer.reshape(-1, 2 * head_dim)
    tokens, bits = kv_input.shape[0], 24 if plan.wide else 16
    for p, (seq_len, where, _, page) in enumerate(_words(plan.plan_c).tolist()):
        last, from_ring, page = where & ((1 << bits) - 1), where >> bits, _signed(page)
        first = last - RATIO + 1 + from_ring  # the first row of the input that is read
        if seq_len == _INVALID or last >= tokens or from_ring > RATIO:
            continue
        if from_ring < RATIO and first < 0:
            continue
        if from_ring > 0 and not 0 <= page < kv_buffer.shape[0]:
            continue
        kept = kv_buffer[page, :from_ring].to(kv_input.dtype) if from_ring else kv_input[:0]
        window = torch.cat((kept, kv_input[first : last + 1]))
        out[p] = _pool_reference(window, ape, head_dim).to(out.dtype)
    for ragged, loc in _words(plan.plan_w).tolist():
        if ragged < tokens and 0 <= _signed(loc) < rows.shape[0]:
            rows[loc] = kv_input[ragged].to(rows.dtype)
    return out
