"""The compress plans of a decode step and of a prefill chunk (templates/compress_plan.cuh.j2).

Row formats are those of include/wavejit/compress/plan.cuh: 16 bytes a decode or compress row,
8 bytes a write row, little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wavejit.bind import from_dlpack, module_for
from wavejit.check import one_of, positive, taken
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.ring import PagedRing, RequestRing, Scheme, check_ratio

__all__ = [
    "DecodePlan",
    "PagedRing",
    "PrefillPlan",
    "RequestRing",
    "compress_plan_decode",
    "compress_plan_prefill",
]
RATIOS = (4, 128)
NARROW_TOKENS = 1 << 16  # ragged ids of 16 bits
MAX_TOKENS = 1 << 24  # of 24 bits
INVALID = 0xFFFFFFFF


@dataclass(frozen=True)
class DecodePlan:
    """Plan of one decode step: `plan_d` uint8 [requests, 16]."""

    ratio: int
    plan_d: Any
    is_decode = True

    @cached_property
    def bound(self) -> Any:
        """The rows as the binding's own tensor, converted once and not in every layer's call."""
        return from_dlpack(self.plan_d)


@dataclass(frozen=True)
class PrefillPlan:
    """Plan of one chunk: `plan_c` uint8 [entries, 16] and `plan_w` uint8 [writes, 8].

    `wide`: the rows' ragged ids have 24 bits instead of 16. `num_q_tokens`: those of the batch that
    it was made for, where that is known.
    """

    ratio: int
    plan_c: Any
    plan_w: Any
    wide: bool = False
    num_q_tokens: int | None = None
    is_decode = False

    @cached_property
    def bound(self) -> tuple[Any, Any]:
        """Both plans' rows as the binding's own tensors."""
        return from_dlpack(self.plan_c), from_dlpack(self.plan_w)


def spec() -> KernelSpec:
    return kernel_spec("compress_plan", ("count", "decode", "prefill"))


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    return [spec()]


def keep_rows(ratio: int, ring_size: int) -> int:
    """Trailing rows a chunk keeps, so that a later verify may accept any prefix of its drafts."""
    window = _window(ratio)
    return ring_size - window + 2 if ring_size > window else 0


def compress_plan_decode(
    ratio: int, req_pool_indices: Any, seq_lens: Any, *, scheme: Scheme
) -> DecodePlan:
    """The plan of a decode step, in one launch and without synchronisation.

    req_pool_indices, seq_lens: int64 or int32 [requests], seq_lens counting the current token; on
    the device of the scheme's tables. A request whose tables do not resolve gets an invalid row.
    Raises ValueError or TypeError for a wrong ratio, geometry, shape, dtype or device.
    """
    import torch

    _check(ratio, scheme)
    req_pool_indices, seq_lens = taken(req_pool_indices=req_pool_indices, seq_lens=seq_lens)
    requests = _length("seq_lens", seq_lens)
    plan_d = torch.empty((requests, 16), dtype=torch.uint8, device=seq_lens.device)
    run = module_for(spec(), seq_lens).decode
    run(req_pool_indices, seq_lens, plan_d, *_scheme_arguments(scheme), ratio.bit_length() - 1)
    return DecodePlan(ratio, plan_d)


def compress_plan_prefill(
    ratio: int,
    req_pool_indices: Any,
    seq_lens: Any,
    extend_lens: Any,
    *,
    scheme: Scheme,
    num_q_tokens: int,
    pad_to: int | None = None,
    wide: bool | None = None,
) -> PrefillPlan:
    """The plan of a chunk of several requests, in one launch.

    seq_lens (tokens after the chunk) and extend_lens (tokens of the chunk): int64 or int32
    [requests], both on one device. Lengths on the CPU are checked (0 < extend <= seq, their sum
    num_q_tokens) and give plans of exactly the rows there are; lengths on the GPU are not read
    by the host, and give plans of num_q_tokens rows, the rest invalid. `pad_to` sets the rows of
    both plans; then the lengths may sum to less than num_q_tokens. `wide` is chosen from
    num_q_tokens unless given. At most 2^24 tokens.
    """
    import torch

    _check(ratio, scheme)
    _check_tokens(num_q_tokens, pad_to)
    req_pool_indices, seq_lens, extend_lens = taken(
        req_pool_indices=req_pool_indices, seq_lens=seq_lens, extend_lens=extend_lens
    )
    requests = _length("seq_lens", seq_lens)
    if _length("extend_lens", extend_lens) != requests:
        raise ValueError(f"extend_lens: expected [{requests}], got {list(extend_lens.shape)}")
    wide = num_q_tokens > NARROW_TOKENS if wide is None else wide
    if num_q_tokens > NARROW_TOKENS and not wide:
        raise ValueError(f"wide=False: {num_q_tokens} tokens need ragged ids of more than 16 bits")
    tables = scheme.req_to_token if isinstance(scheme, PagedRing) else req_pool_indices
    module = module_for(spec(), tables)
    rules = _rules(ratio, scheme)
    rows = (num_q_tokens, num_q_tokens) if pad_to is None else (pad_to, pad_to)
    if seq_lens.is_cpu:
        counted = _count_rows(module, scheme, rules, seq_lens, extend_lens, num_q_tokens, pad_to)
        rows = counted if pad_to is None else rows
    device = tables.device
    plan_c = torch.empty((rows[0], 16), dtype=torch.uint8, device=device)
    plan_w = torch.empty((rows[1], 8), dtype=torch.uint8, device=device)
    module.prefill(
        req_pool_indices.to(device, non_blocking=True),
        *_on_device(seq_lens, extend_lens, device),
        plan_c,
        plan_w,
        *_scheme_arguments(scheme),
        *rules,
        num_q_tokens,
        wide,
    )
    return PrefillPlan(ratio, plan_c, plan_w, wide, num_q_tokens)


def _rules(ratio: int, scheme: Scheme) -> tuple[int, int, int, int, bool]:
    """What shapes a chunk's plan: log2 of the ratio, window, overlap, kept rows, kept page ends."""
    overlap = ratio if ratio == 4 else 0
    page_ends = ratio == 4 and isinstance(scheme, PagedRing)
    kept = keep_rows(ratio, scheme.ring_size)
    return ratio.bit_length() - 1, _window(ratio), overlap, kept, page_ends


def _window(ratio: int) -> int:
    return 2 * ratio if ratio == 4 else ratio


def _check(ratio: int, scheme: Scheme) -> None:
    one_of("ratio", ratio, RATIOS)
    if not isinstance(scheme, PagedRing | RequestRing):
        raise TypeError(f"scheme: expected a PagedRing or a RequestRing, got {scheme!r}")
    check_ratio(scheme, ratio)


def _check_tokens(num_q_tokens: int, pad_to: int | None) -> None:
    for name, value in (("num_q_tokens", num_q_tokens), ("pad_to", pad_to)):
        if value is None:
            continue
        if value != 0:
            positive(name, value)
        if value > MAX_TOKENS:
            raise ValueError(f"{name}: expected at most {MAX_TOKENS}, got {value}")


def _length(name: str, tensor: Any) -> int:
    import torch

    if tensor.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: expected int64 or int32, got {tensor.dtype}")
    if tensor.dim() != 1:
        raise ValueError(f"{name}: expected a vector [requests], got shape {list(tensor.shape)}")
    return int(tensor.shape[0])


def _scheme_arguments(scheme: Scheme) -> tuple[Any, Any, int, int]:
    if isinstance(scheme, PagedRing):
        return scheme.req_to_token, scheme.full_to_swa, scheme.swa_page_size, scheme.ring_size
    return None, None, scheme.ring_size, scheme.ring_size


def _on_device(seq_lens: Any, extend_lens: Any, device: Any) -> tuple[Any, Any]:
    """Both lengths on `device`, with one copy if they are elsewhere."""
    import torch

    if seq_lens.device == device and extend_lens.device == device:
        return seq_lens, extend_lens
    both = torch.stack((seq_lens.long(), extend_lens.long())).to(device, non_blocking=True)
    return both[0], both[1]


def _count_rows(
    module: Any,
    scheme: Scheme,
    rules: tuple[Any, ...],
    seq_lens: Any,
    extend_lens: Any,
    num_q_tokens: int,
    pad_to: int | None,
) -> tuple[int, int]:
    """How many entries and writes the chunk has; ValueError for lengths that cannot be."""
    import torch

    counts = torch.empty(4, dtype=torch.int64)
    module.count(seq_lens, extend_lens, counts, _scheme_arguments(scheme)[2], *rules)
    entries, writes, total, bad = counts.tolist()
    if bad >= 0:
        raise ValueError(
            f"extend_lens[{bad}]: expected 0 < extend <= seq_lens[{bad}]={int(seq_lens[bad])} "
            f"< 2^31, got {int(extend_lens[bad])}"
        )
    if total != num_q_tokens and (pad_to is None or total > num_q_tokens):
        raise ValueError(f"extend_lens: expected a sum of num_q_tokens={num_q_tokens}, got {total}")
    if pad_to is not None and max(entries, writes) > pad_to:
        raise ValueError(f"pad_to: {entries} entries and {writes} writes do not fit in {pad_to}")
    return entries, writes


def compress_plan_decode_reference(
    ratio: int, req_pool_indices: Any, seq_lens: Any, *, scheme: Scheme
) -> DecodePlan:
    """`compress_plan_decode` request by request in plain Python, on the CPU."""
    rows = []
    for rid, seq in zip(req_pool_indices.tolist(), seq_lens.tolist(), strict=True):
        row = [INVALID, -1, -1, -1]
        if 0 < seq < 1 << 31:
            last = seq - 1
            page_0 = _page(scheme, rid, max(last - ratio, 0), ratio)
            page_1 = _page(scheme, rid, last, ratio)
            loc = _state_loc(scheme, rid, last)
            lacks = page_1 < 0 or (ratio == 4 and seq > 4 and page_0 < 0)
            hidden = loc < 0 or (seq % ratio == 0 and lacks)
            row = [INVALID if hidden else seq, loc, page_0, page_1]
        rows.append(row)
    return DecodePlan(ratio, _as_bytes(rows, 16))


def compress_plan_prefill_reference(
    ratio: int,
    req_pool_indices: Any,
    seq_lens: Any,
    extend_lens: Any,
    *,
    scheme: Scheme,
    num_q_tokens: int,
    pad_to: int | None = None,
    wide: bool | None = None,
) -> PrefillPlan:
    """`compress_plan_prefill` token by token in plain Python, on the CPU."""
    wide = num_q_tokens > NARROW_TOKENS if wide is None else wide
    rows_c: list[list[int]] = []
    rows_w: list[list[int]] = []
    ragged = 0
    lengths = (req_pool_indices.tolist(), seq_lens.tolist(), extend_lens.tolist())
    for rid, seq, extend in zip(*lengths, strict=True):
        for j in range(extend if extend <= seq else 0):
            position = seq - extend + j
            if (position + 1) % ratio == 0:
                rows_c.append(
                    _entry(ratio, scheme, rid, position, j, ragged + j, num_q_tokens, wide)
                )
            if _is_written(ratio, scheme, position, seq):
                loc = _state_loc(scheme, rid, position)
                good = loc >= 0 and ragged + j < num_q_tokens
                rows_w.append([ragged + j, loc] if good else [INVALID, -1])
        ragged += max(extend, 0)
    padded = pad_to if pad_to is not None else None
    if padded is None and seq_lens.device.type != "cpu":
        padded = num_q_tokens
    if padded is not None:
        rows_c = (rows_c + [[INVALID, 0, -1, -1]] * padded)[:padded]
        rows_w = (rows_w + [[INVALID, -1]] * padded)[:padded]
    return PrefillPlan(ratio, _as_bytes(rows_c, 16), _as_bytes(rows_w, 8), wide, num_q_tokens)


def _is_written(ratio: int, scheme: Scheme, position: int, seq: int) -> bool:
    overlap = ratio if ratio == 4 else 0
    window = 8 if ratio == 4 else 128
    pad = scheme.ring_size - window + 2 if scheme.ring_size > window else 0
    if position >= min(seq // ratio * ratio - overlap, seq - pad):
        return True
    paged = ratio == 4 and isinstance(scheme, PagedRing)
    return paged and position % scheme.swa_page_size >= scheme.swa_page_size - ratio


def _entry(
    ratio: int,
    scheme: Scheme,
    rid: int,
    position: int,
    j: int,
    ragged: int,
    tokens: int,
    wide: bool,
) -> list[int]:
    window = 8 if ratio == 4 else 128
    buffer_len = window - min(j + 1, window)
    pages = [-1, -1]
    if buffer_len:
        pages = [_page(scheme, rid, p, ratio) for p in (max(position - ratio, 0), position)]
    needs_0 = ratio == 4 and buffer_len > 0 and position + 1 > 4
    needs_1 = buffer_len > (4 if ratio == 4 else 0)
    if ragged >= tokens or (needs_0 and pages[0] < 0) or (needs_1 and pages[1] < 0):
        return [INVALID, 0, -1, -1]
    return [position + 1, ragged | buffer_len << (24 if wide else 16), *pages]


def _state_loc(scheme: Scheme, rid: int, position: int) -> int:
    if rid < 0:
        return -1
    if isinstance(scheme, RequestRing):
        loc = rid * scheme.ring_size + position % scheme.ring_size
        return loc if loc < 1 << 31 else -1
    slots, length = scheme.req_to_token.shape
    if rid >= slots or position >= length:
        return -1
    full = int(scheme.req_to_token[rid, position])
    if not 0 <= full < scheme.full_to_swa.shape[0]:
        return -1
    swa = int(scheme.full_to_swa[full])
    if not 0 <= swa < 1 << 31:
        return -1
    loc = swa // scheme.swa_page_size * scheme.ring_size + swa % scheme.ring_size
    return loc if loc < 1 << 31 else -1


def _page(scheme: Scheme, rid: int, position: int, ratio: int) -> int:
    loc = _state_loc(scheme, rid, position)
    return loc // ratio if loc >= 0 else -1


def _as_bytes(rows: list[list[int]], width: int) -> Any:
    import torch

    data = b"".join((v & INVALID).to_bytes(4, "little") for row in rows for v in row)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0).byte()
    return flat.reshape(-1, width)
