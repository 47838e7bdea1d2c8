"""The plans of the online c128 compressor (templates/online_plan.cuh.j2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wavejit.bind import from_dlpack, module_for
from wavejit.check import positive
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.ops.compress_plan import MAX_TOKENS, NARROW_TOKENS

__all__ = [
    "OnlineDecodePlan",
    "OnlinePrefillPlan",
    "compress_online_plan_decode",
    "compress_online_plan_prefill",
]
RATIO = 128
MAX_VERIFIED = 8  # tokens of a verification
INVALID = 0xFFFFFFFF


@dataclass(frozen=True)
class OnlineDecodePlan:
    """Plan of one decode step: `plan_d` uint8 [requests, 16]."""

    plan_d: Any
    is_decode = True

    @cached_property
    def bound(self) -> Any:
        """The rows as the binding's own tensor."""
        return from_dlpack(self.plan_d)


@dataclass(frozen=True)
class OnlinePrefillPlan:
    """Plan of one chunk: segments that end a group, `plan_c`, and others, `plan_w`.

    Both uint8 [segments, 16]; `wide`: the rows' ragged ids have 24 bits instead of 16.
    """

    plan_c: Any
    plan_w: Any
    wide: bool = False
    is_decode = False

    @cached_property
    def bound(self) -> tuple[Any, Any]:
        """Both plans' rows as the binding's own tensors."""
        return from_dlpack(self.plan_c), from_dlpack(self.plan_w)


def spec() -> KernelSpec:
    return kernel_spec("online_plan", ("chunk", "decode"))


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    return [spec()]


def compress_online_plan_decode(req_pool_indices: Any, seq_lens: Any) -> OnlineDecodePlan:
    """The plan of a decode step: request slot i has state row i.

    req_pool_indices, seq_lens: int64 or int32 [requests], seq_lens counting the current token.
    """
    import torch

    plan_d = torch.empty((seq_lens.shape[0], 16), dtype=torch.uint8, device=seq_lens.device)
    module_for(spec(), seq_lens).decode(req_pool_indices, seq_lens, plan_d)
    return OnlineDecodePlan(plan_d)


def compress_online_plan_prefill(
    req_pool_indices: Any,
    seq_lens: Any,
    extend_lens: Any,
    *,
    num_q_tokens: int,
    pad_to: int | None = None,
    bank_rows: int | None = None,
) -> OnlinePrefillPlan:
    """The plan of a chunk, cut at the ends of groups; with `bank_rows`, of a verification.

    seq_lens (tokens after the chunk) and extend_lens (of the chunk): int64 or int32 [requests].
    Lengths on the CPU are checked and give plans of exactly the rows there are, lengths on a GPU
    plans of num_q_tokens rows, unless `pad_to` says how many; the rest is invalid. bank_rows: rows
    of one bank of the state (CompressStatePool.bank_rows); then at most 8 tokens a request, whose
    states after each of them go to banks 1, 2, ... At most 2^24 tokens.
    """
    import torch

    for name, value in (("num_q_tokens", num_q_tokens), ("pad_to", pad_to)):
        if value is not None and (value != 0) and positive(name, value) > MAX_TOKENS:
            raise ValueError(f"{name}: expected at most {MAX_TOKENS}, got {value}")
    rows = (num_q_tokens, num_q_tokens)
    if seq_lens.is_cpu:
        rows = _checked_rows(seq_lens, extend_lens, num_q_tokens, pad_to, bank_rows)
    if pad_to is not None:
        if seq_lens.is_cpu and max(rows) > pad_to:
            raise ValueError(f"pad_to: {rows[0]} entries and {rows[1]} writes do not fit {pad_to}")
        rows = (pad_to, pad_to)
    device = req_pool_indices.device
    plan_c, plan_w = (torch.empty((n, 16), dtype=torch.uint8, device=device) for n in rows)
    wide = num_q_tokens > NARROW_TOKENS
    module_for(spec(), req_pool_indices).chunk(
        req_pool_indices,
        seq_lens.to(device, non_blocking=True),
        extend_lens.to(device, non_blocking=True),
        plan_c,
        plan_w,
        num_q_tokens,
        0 if bank_rows is None else positive("bank_rows", bank_rows),
        wide,
    )
    return OnlinePrefillPlan(plan_c, plan_w, wide)


def _checked_rows(
    seq_lens: Any, extend_lens: Any, tokens: int, pad_to: int | None, bank_rows: int | None
) -> tuple[int, int]:
    """How many segments end a group and how many do not; ValueError for impossible lengths."""
    most = None if bank_rows is None else MAX_VERIFIED
    seqs, extends = seq_lens.long(), extend_lens.long()
    if seqs.shape != extends.shape or seqs.dim() != 1:
        raise ValueError(
            f"extend_lens: expected {list(seqs.shape)} as seq_lens, got {list(extends.shape)}"
        )
    bad = (extends <= 0) | (extends > seqs) | (seqs >= 1 << 31)
    if most is not None:
        bad |= extends > most
    if bool(bad.any()):
        i = int(bad.nonzero()[0])
        limit = f"and at most {most} " if most is not None else ""
        raise ValueError(
            f"extend_lens[{i}]: expected 0 < extend <= seq_lens[{i}]={int(seqs[i])} {limit}"
            f"< 2^31, got {int(extends[i])}"
        )
    total = int(extends.sum())
    if total != tokens and (pad_to is None or total > tokens):
        raise ValueError(f"extend_lens: expected a sum of num_q_tokens={tokens}, got {total}")
    entries = int((seqs // RATIO - (seqs - extends) // RATIO).sum())
    return entries, total - entries if most is not None else int((seqs % RATIO != 0).sum())


def compress_online_plan_decode_reference(req_pool_indices: Any, seq_lens: Any) -> OnlineDecodePlan:
    """`compress_online_plan_decode` request by request in plain Python."""
    rows = []
    for slot, seq in zip(req_pool_indices.tolist(), seq_lens.tolist(), strict=True):
        good = 0 < seq < 1 << 31 and 0 <= slot < 1 << 31
        rows.append([seq, slot, slot, -1] if good else [INVALID, -1, -1, -1])
    return OnlineDecodePlan(_as_bytes(rows))


def compress_online_plan_prefill_reference(
    req_pool_indices: Any,
    seq_lens: Any,
    extend_lens: Any,
    *,
    num_q_tokens: int,
    pad_to: int | None = None,
    bank_rows: int | None = None,
) -> OnlinePrefillPlan:
    """`compress_online_plan_prefill` token by token in plain Python."""
    wide = num_q_tokens > NARROW_TOKENS
    plans: dict[bool, list[list[int]]] = {True: [], False: []}
    ragged = 0
    lengths = (req_pool_indices.tolist(), seq_lens.tolist(), extend_lens.tolist())
    for slot, seq, extend in zip(*lengths, strict=True):
        length = 0
        for end in range(seq - extend + 1, seq + 1) if 0 < extend <= seq < 1 << 31 else ():
            length = 1 if end % RATIO == 1 else length + 1
            taken = end - (seq - extend)
            if bank_rows is None and end % RATIO and end != seq:
                continue
            target = slot + taken * (bank_rows or 0)
            where = ragged + taken - 1
            good = where < num_q_tokens and slot >= 0 and target < 1 << 31
            row = [end, where | length << (24 if wide else 16), target, slot]
            plans[end % RATIO == 0].append(row if good else [INVALID, 0, -1, -1])
        ragged += max(extend, 0)
    if pad_to is not None:
        padding = [[INVALID, 0, -1, -1]] * pad_to
        plans = {ends: (rows + padding)[:pad_to] for ends, rows in plans.items()}
    return OnlinePrefillPlan(_as_bytes(plans[True]), _as_bytes(plans[False]), wide)


def _as_bytes(rows: list[list[int]]) -> Any:
    import torch

    data = b"".join((v & INVALID).to_bytes(4, "little") for row in rows for v in row)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0).byte()
    return flat.reshape(-1, 16)
