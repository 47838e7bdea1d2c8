"""Tables of rotations: cos and sin of every position and pair (templates/rope_table.cuh.j2)."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from wavejit.bind import module_for
from wavejit.check import number, one_of, positive
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.rounding import rounded

__all__ = ["Yarn", "rope_cos_sin", "rope_table"]
ANGLES = ("float32", "float64")
MAX_POSITIONS = 1 << 24  # fp32 counts so far
_TYPES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Yarn:
    """YaRN's parameters, by default those of DeepSeek-V4's compressed layers.

    factor: what low frequencies are divided by; original: positions that the model was trained
    on; a pair that turns more than beta_fast times in them keeps its frequency, one that turns less
    than beta_slow times is divided.
    """

    factor: float = 16.0
    original: int = 65536
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    def __post_init__(self) -> None:
        for name in ("factor", "original", "beta_fast", "beta_slow"):
            if not 0 < number(f"yarn's {name}", getattr(self, name)) < math.inf:
                found = getattr(self, name)
                raise ValueError(f"yarn's {name}: expected a finite number above 0, got {found}")

    @classmethod
    def of(cls, given: Yarn | Mapping[str, Any]) -> Yarn:
        """Itself, or what a model's `rope_scaling` says; ValueError for another kind."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise TypeError(f"yarn: expected wavejit.Yarn or rope_scaling, got {given!r}")
        one_of("yarn's type", given.get("type", given.get("rope_type", "yarn")), ("yarn",))
        names = {"factor": "factor", "original_max_position_embeddings": "original"}
        names |= {"beta_fast": "beta_fast", "beta_slow": "beta_slow"}
        return cls(**{own: given[name] for name, own in names.items() if name in given})


def spec(angles: str) -> KernelSpec:
    """One instance: the precision of the angles, float32 or float64."""
    one_of("angles", angles, ANGLES)
    return kernel_spec("rope_table", ("run",), angle=_TYPES[angles])


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """What every model has."""
    return [spec("float32")]


def rope_table(
    max_positions: int,
    *,
    base: float,
    yarn: Yarn | Mapping[str, Any] | None = None,
    dim: int = 64,
    angles: str = "float32",
    device: Any = None,
) -> Any:
    """cos + i sin of position * base^(-2j/dim) for every position and pair j: `freqs_cis`.

    max_positions: rows, at most 2^24. base: 10000 for sliding-window layers, 160000 with
    yarn=Yarn() for compressed ones. yarn: a Yarn, or a model's rope_scaling. angles: "float32", the
    product of an fp32 position and an fp32 frequency, as models are trained; or "float64", which is
    right also near a million positions.

    Returns complex64 [max_positions, dim / 2] on `device` (default: the CPU), the same bytes on
    every machine: each number within 0.51 ulp of the exact cos or sin of its angle. Raises
    ValueError or TypeError naming the argument.
    """
    import torch

    if positive("max_positions", max_positions) > MAX_POSITIONS:
        raise ValueError(f"max_positions: expected at most {MAX_POSITIONS}, got {max_positions}")
    if positive("dim", dim) % 2:
        raise ValueError(f"dim: expected an even number, got {dim}")
    one_of("angles", angles, ANGLES)
    found = frequencies(base, dim, None if yarn is None else Yarn.of(yarn), angles)
    table = torch.empty((max_positions, dim // 2, 2), dtype=torch.float32, device=device)
    given = torch.tensor(found, dtype=getattr(torch, angles), device=table.device)
    module_for(spec(angles), table).run(given, table, 0)
    return torch.view_as_complex(table)


def rope_cos_sin(freqs_cis: Any, dtype: Any = None) -> tuple[Any, Any]:
    """The table's two parts as AMD's kernels take them: cos and sin [positions, 1, 1, dim / 2].

    freqs_cis: complex64 [positions, dim / 2]; dtype: of the result, default bfloat16 (upstream's;
    2^-9 of every factor is lost: prefer float32).
    """
    import torch

    if not (hasattr(freqs_cis, "is_complex") and freqs_cis.is_complex()):
        raise TypeError("freqs_cis: expected the complex64 tensor of rope_table")
    if dtype is not None and not getattr(dtype, "is_floating_point", False):
        raise TypeError(f"dtype: expected a floating torch.dtype, got {dtype!r}")
    parts = freqs_cis.real, freqs_cis.imag
    cos, sin = (part.to(dtype or torch.bfloat16)[:, None, None, :] for part in parts)
    return cos.contiguous(), sin.contiguous()


@cache
def frequencies(base: float, dim: int, yarn: Yarn | None, angles: str) -> tuple[float, ...]:
    """The frequency of each pair, as fp32 numbers (angles="float32") or float64 numbers.

    base^(-2j/dim) is rounded once from 40 digits; YaRN's blend is one rounded operation after the
    other in the same precision: (f / factor) * ramp + f * (1 - ramp).
    """
    import numpy as np

    kind = np.float32 if angles == "float32" else np.float64
    if not (isinstance(base, (int, float)) and math.isfinite(base) and base > 1):
        raise ValueError(f"base: expected a number above 1, got {base!r}")
    with decimal.localcontext(prec=40):
        log = decimal.Decimal(base).ln()
        plain = [kind(str((-log * 2 * j / dim).exp())) for j in range(dim // 2)]
    if yarn is None:
        return tuple(float(f) for f in plain)
    low, high = _ramp(base, dim, yarn)
    blended = []
    for j, f in enumerate(plain):
        ramp = kind(min(max((kind(j) - kind(low)) / kind(high - low), kind(0)), kind(1)))
        blended.append((f / kind(yarn.factor)) * ramp + f * (kind(1) - ramp))
    return tuple(float(f) for f in blended)


def _ramp(base: float, dim: int, yarn: Yarn) -> tuple[float, float]:
    """The pairs between which YaRN goes over from the one frequency to the other."""

    def pair(turns: float) -> float:
        return dim * math.log(yarn.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair(yarn.beta_fast)), 0)
    high = min(math.ceil(pair(yarn.beta_slow)), dim - 1)
    return (low, high + 0.001) if low == high else (low, high)


def rope_table_reference(
    max_positions: int,
    *,
    base: float,
    yarn: Yarn | Mapping[str, Any] | None = None,
    dim: int = 64,
    angles: str = "float32",
    device: Any = None,
) -> Any:
    """`rope_table` by torch's powers, cos and sin in float64."""
    import torch

    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    rates = torch.tensor(float(base), dtype=torch.float64) ** -exponents
    kind = getattr(torch, angles)
    rates = rates.to(kind)
    if yarn is not None:
        chosen = Yarn.of(yarn)
        low, high = _ramp(base, dim, chosen)
        pairs = torch.arange(dim // 2, dtype=kind)
        ramp = ((pairs - low) / (high - low)).clamp(0, 1)
        rates = rates / chosen.factor * ramp + rates * (1 - ramp)
    angle = (torch.arange(max_positions, dtype=kind)[:, None] * rates).double()
    return torch.complex(rounded(angle.cos(), torch.float32), rounded(angle.sin(), torch.float32))


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """The model's two tables, the exact one, and another width."""
    from functools import partial

    return {
        "rope_table-sliding": partial(_golden, {"base": 10000.0}),
        "rope_table-compressed": partial(_golden, {"base": 160000.0, "yarn": Yarn()}),
        "rope_table-float64": partial(_golden, {"base": 160000.0, "angles": "float64"}),
        "rope_table-d6": partial(_golden, {"base": 500.5, "dim": 6}),
    }


def _golden(options: dict[str, Any], device: Any) -> str:
    import torch

    from wavejit.testing import digest

    table = rope_table(5000, **options, device=device)
    cos, sin = rope_cos_sin(table)
    return digest(torch.view_as_real(table), cos, sin)
