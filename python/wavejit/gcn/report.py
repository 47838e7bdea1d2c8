"""What a launch did: instructions by kind, bytes moved, segments touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

KINDS = ("vector", "scalar", "cross_lane", "lds", "global", "wait", "branch", "other")
_CROSS_LANE = (
    "v_readlane",
    "v_readfirstlane",
    "v_writelane",
    "v_permlane",
    "ds_bpermute",
    "ds_permute",
    "ds_swizzle",
)
_GLOBAL = ("global_", "flat_", "buffer_", "scratch_", "s_load", "s_buffer_load")
_WAIT = ("s_waitcnt", "s_nop", "s_sleep")
_BRANCH = ("s_branch", "s_cbranch", "s_setpc", "s_swappc", "s_call")
_OTHER = ("s_barrier", "s_endpgm", "s_setreg", "s_getreg", "buffer_inv", "buffer_wbl2")


def kind_of(mnemonic: str) -> str:
    """One of KINDS."""
    if mnemonic.startswith(_CROSS_LANE) or mnemonic.endswith("_dpp"):
        return "cross_lane"
    for kind, starts in (("wait", _WAIT), ("branch", _BRANCH), ("other", _OTHER)):
        if mnemonic.startswith(starts):
            return kind
    if mnemonic.startswith(_GLOBAL):
        return "global"
    if mnemonic.startswith("ds_"):
        return "lds"
    return "vector" if mnemonic.startswith("v_") else "scalar"


@dataclass
class Trace:
    """Executed wave-instructions: by kind, by mnemonic and by place (offset in the code).

    `segments` are the 64-byte segments that the accesses of a wave touch, one access after the
    other; where neighbours read neighbours they are bytes / 64.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    mnemonics: Counter[str] = field(default_factory=Counter)
    bytes_loaded: int = 0
    bytes_stored: int = 0
    lds_bytes: int = 0
    scalar_bytes: int = 0
    segments: int = 0
    places: Counter[int] = field(default_factory=Counter)
    waves: int = 0
    blocks: int = 0

    @property
    def instructions(self) -> int:
        return sum(self.kinds.values())

    @property
    def coalescing(self) -> float:
        """The part of the touched segments' bytes that was asked for; above 1 when lanes share."""
        return (self.bytes_loaded + self.bytes_stored) / (64 * self.segments or 1)

    def add(self, mnemonic: str, pc: int, runs: int, moved: int, segments: int) -> None:
        """Count the instruction at `pc`, which ran `runs` times and moved `moved` bytes in all."""
        kind = kind_of(mnemonic)
        self.places[pc] += runs
        self.kinds[kind] += runs
        self.mnemonics[mnemonic] += runs
        self.segments += segments
        if kind == "lds":
            self.lds_bytes += moved
        elif mnemonic.startswith("s_"):
            self.scalar_bytes += moved
        elif "_load" in mnemonic:
            self.bytes_loaded += moved
        else:
            self.bytes_stored += moved

    def merge(self, other: Trace) -> None:
        """Add another launch's counts."""
        self.kinds.update(other.kinds)
        self.mnemonics.update(other.mnemonics)
        self.places.update(other.places)
        names = "bytes_loaded bytes_stored lds_bytes scalar_bytes segments waves blocks"
        for name in names.split():
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self) -> dict[str, int]:
        """The counts as one row of a table."""
        row = {"blocks": self.blocks, "waves": self.waves, "instructions": self.instructions}
        row |= {kind: self.kinds[kind] for kind in KINDS}
        row |= {"bytes_loaded": self.bytes_loaded, "bytes_stored": self.bytes_stored}
        return row | {"lds_bytes": self.lds_bytes, "segments": self.segments}


@dataclass(frozen=True)
class Result:
    """What `Machine.launch` returns."""

    kernel: str
    trace: Trace
