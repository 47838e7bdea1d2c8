"""The online c128 compressor (templates/c128_online.cuh.j2)."""

from __future__ import annotations

from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, positive
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["compress_online", "compress_online_commit"]
RATIO = 128
HEAD_DIMS = tuple(range(64, 1025, 64))
STATES = ("float", "bfloat16")
_INVALID = 0xFFFFFFFF


def spec(head_dim: int, state: str) -> KernelSpec:
    """One instance: head_dim and the state's dtype (float, bfloat16)."""
    one_of("head_dim", head_dim, HEAD_DIMS)
    one_of("state dtype", state, STATES)
    return kernel_spec(
        "c128_online", ("commit", "decode", "prefill"), head_dim=head_dim, state=state
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """Attention's 512 channels with an fp32 state; a server has to choose the online state."""
    return [spec(512, "float")]


def compress_online(
    state: Any, kv_input: Any, ape: Any, plan: Any, *, head_dim: int, out: Any = None
) -> Any:
    """c128 with one row a request instead of 128: running maximum, sum of weights and mean.

    state: [rows, 3 * head_dim] fp32 or bf16, updated in place; kv_input: [tokens, 2 * head_dim]
    fp32, rows may lie apart; ape: [128, head_dim] fp32; plan: from compress_online_plan_decode or
    compress_online_plan_prefill. Returns `out` fp32: [requests, head_dim] for a decode plan, of
    which only the rows that end a group are written, or [plan_c rows, head_dim]. With an fp32 state
    the bytes do not depend on how a request is cut into chunks. Rows whose plan is invalid or
    points outside a tensor are skipped. Raises ValueError or TypeError naming the argument.
    """
    rows = plan.plan_d if plan.is_decode else plan.plan_c
    if out is None:
        out = kv_input.new_empty((rows.shape[0], positive("head_dim", head_dim)))
    module = module_for(spec(head_dim, dtype_name(state.dtype)), kv_input)
    if plan.is_decode:
        module.decode(state, kv_input, ape, plan.bound, out)
    else:
        module.prefill(state, kv_input, ape, *plan.bound, out, plan.wide)
    return out


def compress_online_commit(
    state: Any, req_pool_indices: Any, seq_lens: Any, accepted: Any, *, bank_rows: int
) -> None:
    """After a verification, bank `accepted[i]` of a request's state becomes its bank 0.

    state: [banks * bank_rows, 3 * head_dim]; req_pool_indices, seq_lens (with the accepted tokens)
    and accepted: int64 or int32 [requests]. Nothing happens where seq_lens is a multiple of 128,
    or where slot or bank do not exist.
    """
    positive("bank_rows", bank_rows)
    if state.dim() != 2 or state.shape[1] % 3 or state.shape[0] % bank_rows:
        raise ValueError(
            f"state: expected [banks * {bank_rows}, 3 * head_dim], got {list(state.shape)}"
        )
    module = module_for(spec(state.shape[1] // 3, dtype_name(state.dtype)), state)
    module.commit(state, req_pool_indices, seq_lens, accepted, bank_rows)


def compress_online_commit_reference(
    state: Any, req_pool_indices: Any, seq_lens: Any, accepted: Any, *, bank_rows: int
) -> None:
    """`compress_online_commit` request by request; everything on the CPU."""
    positive("bank_rows", bank_rows)
    given = (tensor.tolist() for tensor in (req_pool_indices, seq_lens, accepted))
    for slot, seq, bank in zip(*given, strict=True):
        exists = 0 <= slot < bank_rows and 1 <= bank < state.shape[0] // bank_rows
        if exists and seq % RATIO:
            state[slot] = state[slot + bank * bank_rows]


def compress_online_reference(
    state: Any, kv_input: Any, ape: Any, plan: Any, *, head_dim: int, out: Any = None
) -> Any:
    """`compress_online` in float64, segment by segment; a stored row is rounded to the state."""
    import torch

    rows = plan.plan_d if plan.is_decode else plan.plan_c
    out = kv_input.new_empty((rows.shape[0], head_dim)) if out is None else out
    stored = []
    for emits, segments in _segments(plan, kv_input.shape[0]):
        for i, (end, last, length, source, target) in segments:
            start = (end - 1) % RATIO - (length - 1)
            if start < 0 or last < length - 1 or (start and not 0 <= source < len(state)):
                continue
            tokens = kv_input[last - length + 1 : last + 1].double()
            scores = tokens[:, head_dim:] + ape[start : start + length].double()
            values, weights = tokens[:, :head_dim], torch.ones_like(scores)
            if start:
                top, sums, mean = state[source].double().split(head_dim)
                scores = torch.cat((top[None], scores))
                values, weights = torch.cat((mean[None], values)), torch.cat((sums[None], weights))
            top = scores.amax(dim=0)
            weights = weights * torch.exp(scores - top.clamp(min=-3.4028234663852886e38))
            total = weights.sum(dim=0)
            mean = torch.where(total == 0, 0, (weights * values).sum(dim=0) / total)
            if emits and (end % RATIO == 0 or not plan.is_decode):
                out[i] = mean.to(out.dtype)
            else:
                stored.append((target, torch.cat((top, total, mean)).to(state.dtype)))
        for target, row in stored:
            if 0 <= target < len(state):
                state[target] = row
        stored = []
    return out


def _segments(plan: Any, tokens: int) -> list[tuple[bool, list[tuple[int, tuple[int, ...]]]]]:
    """(emits, [(plan row, (end, last token's row, length, row to load, row to store))])."""

    def words(tensor: Any) -> list[list[int]]:
        return [
            [int.from_bytes(bytes(row[k : k + 4]), "little", signed=k >= 8) for k in (0, 4, 8, 12)]
            for row in tensor.tolist()
        ]

    if plan.is_decode:
        rows = []
        for i, (end, loc, source, _) in enumerate(words(plan.plan_d)):
            if end not in (0, _INVALID):
                rows.append((i, (end, i, 1, source, loc if loc < 1 << 31 else -1)))
        return [(True, rows)]
    bits, found = 24 if plan.wide else 16, []
    for emits, tensor in ((True, plan.plan_c), (False, plan.plan_w)):
        rows = []
        for i, (end, where, target, source) in enumerate(words(tensor)):
            last, length = where & ((1 << bits) - 1), where >> bits
            if end not in (0, _INVALID) and length >= 1 and last < tokens:
                rows.append((i, (end, last, length, target if source < 0 else source, target)))
        found.append((emits, rows))
    return found
