"""Seeded inputs that are the same bytes with every version of torch and numpy, on every machine.

Element i of seed s is splitmix64's output number i + 1 from the state that s hashes to; what is
made of it needs only integer arithmetic and exact conversions. All tensors are made on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def bits(seed: int, count: int) -> Any:
    """`count` random 64-bit words as a numpy uint64 array."""
    import numpy as np

    start = np.uint64((seed + 1) * 0xD1342543DE82EF95 & _MASK)
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + start) * np.uint64(_STEP)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _tensor(values: Any, shape: Sequence[int]) -> Any:
    """In torch's memory: it begins at a multiple of 64 bytes, and kept traces count segments."""
    import torch

    return torch.from_numpy(values.reshape(tuple(shape))).clone()


def uniform(seed: int, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Any:
    """fp32 in [low, high): low + (high - low) * k / 2^24, computed in float64 and rounded once."""
    import numpy as np

    steps = (bits(seed, math.prod(shape)) >> np.uint64(40)).astype(np.float64)
    values = (low + (high - low) * (steps / float(1 << 24))).astype(np.float32)
    return _tensor(values, shape)


def normal(seed: int, shape: Sequence[int], scale: float = 1.0) -> Any:
    """fp32, bell-shaped with mean 0 and deviation about `scale`, never beyond 6 * scale.

    The sum of twelve uniform 16-bit integers, less its mean: exact, without a logarithm.
    """
    import numpy as np

    words = bits(seed, 3 * math.prod(shape)).reshape(3, -1)
    total = np.zeros(words.shape[1], dtype=np.int64)
    for word in words:
        for shift in (0, 16, 32, 48):
            total += ((word >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
    values = ((total - 6 * 0xFFFF).astype(np.float64) * (scale / 65536.0)).astype(np.float32)
    return _tensor(values, shape)


def integers(seed: int, shape: Sequence[int], low: int, high: int, dtype: Any = None) -> Any:
    """Integers in [low, high), int64 unless `dtype` says otherwise."""
    import numpy as np

    words = bits(seed, math.prod(shape)) % np.uint64(high - low)
    values = _tensor(words.astype(np.int64) + low, shape)
    return values if dtype is None else values.to(dtype)


def permutation(seed: int, count: int) -> Any:
    """A permutation of range(count), int64."""
    import numpy as np

    return _tensor(np.argsort(bits(seed, count), kind="stable").astype(np.int64), (count,))


def any_float(seed: int, shape: Sequence[int]) -> Any:
    """fp32 of random bits: every exponent, NaN of every payload, infinities, subnormals, zeros.

    A quarter of the elements come from a list of values where rules break.
    """
    import numpy as np

    special = [0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000]
    special += [0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001, 0x3F800000, 0xC2D00000, 0x42B20000]
    words = bits(seed, math.prod(shape))
    chosen = np.array(special, dtype=np.uint32)[(words >> np.uint64(34)) % np.uint64(len(special))]
    take = (words >> np.uint64(32)) & np.uint64(3) == 0
    values = np.where(take, chosen, words.astype(np.uint32)).astype(np.uint32).view(np.float32)
    return _tensor(values, shape)
