"""Where the bytes of a KV cache lie: layouts as values (tables in docs/layouts.md).

A layout with its page size and flavour says everything about a cache: the bytes of a page, the
place of each field of a slot, how a tensor must look. The kernels get their constants from these
values, and the documentation its tables. Integers only: importing this loads neither torch nor
a compiler.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from wavejit.check import one_of, positive

FLAVOURS = ("fn", "fnuz")
MAXIMA = {"fn": (448,), "fnuz": (240, 224)}
AMAX_FLOORS = (1e-4, 1e-8, 1e-10)
MAX_PAGE_SIZE = 65536


@dataclass(frozen=True)
class Part:
    """One field of every slot: `size` bytes at `area` + slot * `stride`, in bytes of the page.

    `pool` is 0, or 1 for the second tensor of a layout that has two.
    """

    name: str
    what: str
    size: int
    area: int
    stride: int
    pool: int = 0


@dataclass(frozen=True)
class Layout:
    """What all layouts share.

    page_size: slots of a page; None leaves it to the call. flavour: "fn" or "fnuz", which e4m3
    the bytes are; None takes that of the tensor's architecture. The rest is how a store quantises:
    fp8_max, the largest magnitude (448 for fn; 240 or 224 for fnuz); amax_floor, the least
    magnitude that a group is scaled for; nan, "max" (a NaN becomes +fp8_max) or "code" (the
    flavour's NaN). Raises ValueError or TypeError for anything else.
    """

    page_size: int | None = None
    flavour: str | None = None
    fp8_max: int | None = None
    amax_floor: float = AMAX_FLOORS[0]
    nan: str = "max"
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    KIND: ClassVar[str] = ""
    DIMS: ClassVar[int] = 512
    QUANTISED: ClassVar[int] = 0
    SLOT_BYTES: ClassVar[int] = 0
    SCALE_BYTES: ClassVar[int] = 0  # from one slot's scales to the next's
    TILE: ClassVar[int] = 0  # slots that are interleaved
    HAS_FLAVOURS: ClassVar[bool] = True  # False: the codes are no e4m3
    DTYPES: ClassVar[tuple[str, ...]] = ("uint8",)  # of each pool
    ROW_SIZE: ClassVar[int | None] = None  # the one page size of a layout without pages

    def __post_init__(self) -> None:
        if self.page_size is None and self.ROW_SIZE:
            object.__setattr__(self, "page_size", self.ROW_SIZE)
        if self.page_size is not None:
            self._check_page_size(self.page_size)
        one_of("flavour", self.flavour, (None, *FLAVOURS))
        if self.fp8_max is not None:
            maxima = MAXIMA[self.flavour] if self.flavour else MAXIMA["fn"] + MAXIMA["fnuz"]
            one_of(f"fp8_max of flavour {self.flavour}", self.fp8_max, maxima)
        one_of("amax_floor", self.amax_floor, AMAX_FLOORS)
        one_of("nan", self.nan, ("max", "code"))
        own = (self.page_size, self.flavour, self.fp8_max, self.amax_floor, self.nan, self.TILE)
        object.__setattr__(self, "_hash", hash((self.KIND, *own)))  # a call looks itself up by it

    def __hash__(self) -> int:
        return self._hash

    def _check_page_size(self, page_size: int) -> None:
        positive("page_size", page_size)
        if self.ROW_SIZE and page_size != self.ROW_SIZE:
            raise ValueError(f"page_size: {self.KIND} has rows, not pages: got {page_size}")
        if page_size > MAX_PAGE_SIZE:
            raise ValueError(f"page_size: expected at most {MAX_PAGE_SIZE}, got {page_size}")
        if self.TILE and page_size % self.TILE:
            raise ValueError(
                f"page_size: expected a multiple of {self.TILE} for {self.KIND} with "
                f"preshuffled=True, got {page_size}"
            )

    def at(self, page_size: int | None = None, flavour: str | None = None) -> Any:
        """This layout with what it leaves open filled in.

        ValueError if `page_size` is open or is not what the layout says.
        """
        known = self.page_size
        if known is None and page_size is None:
            raise ValueError(f"page_size: neither the call nor the layout says it: {self}")
        if known is not None and page_size is not None and known != page_size:
            raise ValueError(f"page_size: expected that of {self}, got {page_size}")
        flavour = self.flavour or (flavour if self.HAS_FLAVOURS else None)
        maximum = self.fp8_max
        if maximum is None and flavour:
            maximum = MAXIMA[flavour][0]
        return replace(self, page_size=known or page_size, flavour=flavour, fp8_max=maximum)

    @property
    def slots(self) -> int:
        """`page_size`, which must be known."""
        return int(self.at().page_size)

    @property
    def page_bytes(self) -> int:
        """Bytes from one page to the next in the first pool."""
        return self.SLOT_BYTES * self.slots + self.SCALE_BYTES * self.slots

    @property
    def parts(self) -> tuple[Part, ...]:
        """The fields of a slot, in the order of their bytes."""
        raise NotImplementedError

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        """Elements of a page of each pool: `cache` is [pages, *geometry[0]]."""
        return ((self.page_bytes,),)

    def params(self) -> dict[str, int | str]:
        """The constants of an instance block (include/wavejit/cache/layout.cuh)."""
        return {
            "layout": self.KIND,
            "flavour": (self.flavour or "fn").capitalize(),
            "page_size": self.slots,
            "page_bytes": self.page_bytes,
            "slot_bytes": self.SLOT_BYTES,
            "scale_bytes": self.SCALE_BYTES,
            "tile": int(self.TILE),
        }

    def rules(self) -> dict[str, int | str]:
        """How a store quantises, for its instance block; the floor is exact as C++ reads it."""
        return {
            "amax_floor": f"{self.amax_floor:.0e}f",
            "fp8_max": self.largest,
            "nan": self.nan.capitalize(),
        }

    @property
    def largest(self) -> int:
        """The largest magnitude of a code, what a group's is divided by."""
        return self.fp8_max or MAXIMA[self.flavour or "fn"][0]

    def capacity(self, cache: Any) -> int:
        """The slots that `cache` holds; ValueError, with both, if it has not this layout."""
        self.check(cache)
        return int(self.pools(cache)[0].shape[0]) * self.slots

    def pools(self, cache: Any, name: str = "cache") -> tuple[Any, ...]:
        """The tensors of `cache`, which is one tensor or, for two pools, a pair."""
        found = tuple(cache) if isinstance(cache, (tuple, list)) else (cache,)
        if len(found) != len(self.DTYPES):
            raise ValueError(
                f"{name}: expected {len(self.DTYPES)} tensors for {self}, got {len(found)}"
            )
        return found

    def check(self, cache: Any, name: str = "cache") -> None:
        """ValueError or TypeError, with the layout and the shapes, unless `cache` has this one."""
        pools = self.pools(cache, name)
        for pool, sizes, dtype in zip(pools, self.geometry, self.DTYPES, strict=True):
            shape, expected = list(pool.shape), ["pages", *sizes]
            if str(pool.dtype).removeprefix("torch.") != dtype:
                raise TypeError(f"{name}: expected {dtype} for {self}, got {pool.dtype} {shape}")
            if shape[1:] != list(sizes) or pool.stride(-1) != 1:
                raise ValueError(
                    f"{name}: {self} has pages of {self.slots} slots in {self.page_bytes} bytes: "
                    f"expected [{', '.join(map(str, expected))}] with rows in one piece, got "
                    f"{shape} with strides {list(pool.stride())}"
                )
        if any(pool.shape[0] != pools[0].shape[0] for pool in pools):
            shapes = " and ".join(str(list(pool.shape)) for pool in pools)
            raise ValueError(f"{name}: expected two pools of as many rows for {self}, got {shapes}")

    def empty(self, slots: int, *, device: Any = None) -> Any:
        """A cache of zeros for at least `slots` slots."""
        import torch

        pages = -(-positive("slots", slots) // self.slots)
        made = [
            torch.zeros((pages, *sizes), dtype=getattr(torch, dtype), device=device)
            for sizes, dtype in zip(self.geometry, self.DTYPES, strict=True)
        ]
        return made[0] if len(made) == 1 else tuple(made)


@dataclass(frozen=True)
class FlashMLA(Layout):
    """The latent, 584 bytes a token: 448 fp8, 64 rotated bf16, 7 UE8M0 scales and a pad byte.

    A page is rounded up to a multiple of 576 bytes. Cache: uint8 [pages, page_bytes].
    """

    KIND: ClassVar[str] = "FlashMLA"
    QUANTISED: ClassVar[int] = 448
    SLOT_BYTES: ClassVar[int] = 576
    SCALE_BYTES: ClassVar[int] = 8
    __hash__ = Layout.__hash__

    @property
    def page_bytes(self) -> int:
        raw = (self.SLOT_BYTES + self.SCALE_BYTES) * self.slots
        return -(-raw // self.SLOT_BYTES) * self.SLOT_BYTES

    @property
    def parts(self) -> tuple[Part, ...]:
        step, scales = self.SLOT_BYTES, self.SLOT_BYTES * self.slots
        return (
            Part("nope", "fp8, dims 0-447", 448, 0, step),
            Part("rope", "bf16, dims 448-511, rotated", 128, 448, step),
            Part("scales", "UE8M0 of dims 64t-64t+63, t = 0-6", 7, scales, self.SCALE_BYTES),
            Part("pad", "never written, never read", 1, scales + 7, self.SCALE_BYTES),
        )


@dataclass(frozen=True)
class Bf16Rows(Layout):
    """The latent without quantisation. Cache: bf16 [rows, 512]."""

    KIND: ClassVar[str] = "Bf16Rows"
    SLOT_BYTES: ClassVar[int] = 1024
    DTYPES: ClassVar[tuple[str, ...]] = ("bfloat16",)
    ROW_SIZE: ClassVar[int | None] = 1
    __hash__ = Layout.__hash__

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        return ((512,),)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part("values", "bf16, dims 0-511", 1024, 0, 1024),)


@dataclass(frozen=True)
class TwoPool(Layout):
    """The latent in two pools of the same rows. Cache: (uint8 [rows, 512], bf16 [rows, 64])."""

    KIND: ClassVar[str] = "TwoPool"
    QUANTISED: ClassVar[int] = 448
    SLOT_BYTES: ClassVar[int] = 512
    DTYPES: ClassVar[tuple[str, ...]] = ("uint8", "bfloat16")
    ROW_SIZE: ClassVar[int | None] = 1
    __hash__ = Layout.__hash__

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        return ((512,), (64,))

    @property
    def parts(self) -> tuple[Part, ...]:
        return (
            Part("nope", "fp8, dims 0-447", 448, 0, 512),
            Part("scales", "UE8M0 of dims 64t-64t+63, t = 0-6, each twice", 14, 448, 512),
            Part("unused", "never written, never read", 50, 462, 512),
            Part("rope", "bf16, dims 448-511, rotated", 128, 0, 128, pool=1),
        )


@dataclass(frozen=True)
class Indexer(Layout):
    """The indexer's keys, 132 bytes each: 128 fp8 and one fp32 scale.

    preshuffled: the values of 16 slots interleaved in pieces of 16 bytes, as AMD's matrix
    instructions read them. Cache: uint8 [pages, page_bytes], or any view of such pages.
    """

    preshuffled: bool = False

    KIND: ClassVar[str] = "Indexer"
    DIMS: ClassVar[int] = 128
    QUANTISED: ClassVar[int] = 128
    SLOT_BYTES: ClassVar[int] = 128
    SCALE_BYTES: ClassVar[int] = 4
    __hash__ = Layout.__hash__

    @property
    def TILE(self) -> int:  # type: ignore[override]
        """Slots that are interleaved, 0 for none."""
        return 16 if self.preshuffled else 0

    @property
    def parts(self) -> tuple[Part, ...]:
        what = "fp8, dims 0-127"
        if self.preshuffled:
            what = "fp8: dim d of slot s at s//16*2048 + d//16*256 + s%16*16 + d%16"
        return (
            Part("values", what, 128, 0, 128),
            Part("scale", "fp32, little endian", 4, 128 * self.slots, 4),
        )


@dataclass(frozen=True)
class IndexerFp4(Layout):
    """The indexer's keys in 68 bytes each: 128 e2m1, two in a byte, and four UE8M0 scales.

    e2m1 has no flavours, no NaN and the one largest magnitude 6, so of the options only amax_floor
    is left; and there is no preshuffled form. Cache: uint8 [pages, page_bytes], or any view of such
    pages.
    """

    preshuffled: bool = False

    KIND: ClassVar[str] = "IndexerFp4"
    DIMS: ClassVar[int] = 128
    QUANTISED: ClassVar[int] = 128
    SLOT_BYTES: ClassVar[int] = 64
    SCALE_BYTES: ClassVar[int] = 4
    HAS_FLAVOURS: ClassVar[bool] = False
    __hash__ = Layout.__hash__

    def __post_init__(self) -> None:
        for name, only in (("flavour", None), ("fp8_max", None), ("nan", "max")):
            if getattr(self, name) != only:
                given = getattr(self, name)
                raise ValueError(f"{name}: {self.KIND} is e2m1, no e4m3: got {given!r}")
        if self.preshuffled:
            raise ValueError(f"preshuffled: {self.KIND} has no such form: expected False")
        super().__post_init__()

    @property
    def largest(self) -> int:
        return 6

    @property
    def parts(self) -> tuple[Part, ...]:
        what = "e2m1, dims 0-127: dim 2b in the low half of byte b"
        return (
            Part("values", what, 64, 0, 64),
            Part("scales", "UE8M0 of dims 32g-32g+31, g = 0-3", 4, 64 * self.slots, 4),
        )


LAYOUTS: tuple[type[Layout], ...] = (FlashMLA, Bf16Rows, TwoPool, Indexer, IndexerFp4)


def from_params(layout: Any, constants: dict[str, Any]) -> Any:
    """`layout`, or where it is a kind's name the layout whose `params` and `rules` these are.

    Sizes that follow from the others are computed anew. TypeError for other names.
    """
    if isinstance(layout, Layout) and not constants:
        return layout
    kinds = {kind.KIND: kind for kind in LAYOUTS}
    if layout not in kinds:
        raise TypeError(f"layout: expected one of wavejit.layouts, got {layout!r}")
    found = dict(constants)
    derived = ["page_bytes", "slot_bytes", "scale_bytes"]
    if not kinds[layout].HAS_FLAVOURS:
        derived += ["flavour", "fp8_max"]
    for name in derived:
        found.pop(name, None)
    if found.pop("tile", 0):
        found["preshuffled"] = True
    if "amax_floor" in found:
        found["amax_floor"] = float(str(found["amax_floor"]).rstrip("f"))
    for name in ("flavour", "nan"):
        if name in found:
            found[name] = str(found[name]).lower()
    return kinds[layout](**found).at()
