"""Equality of bytes, with a report that says where two tensors part, and digests of bytes."""

from __future__ import annotations

import hashlib
from typing import Any


def raw(tensor: Any) -> Any:
    """The tensor's elements in row-major order as a uint8 array [elements, bytes], on the CPU."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    size = flat.element_size()
    if flat.numel() == 0:
        return torch.empty((0, size), dtype=torch.uint8).numpy()
    return flat.view(torch.uint8).reshape(-1, size).numpy()


def digest(*tensors: Any) -> str:
    """SHA-256 over the tensors' elements, each in row-major order, one tensor after another."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(raw(tensor).tobytes())
    return state.hexdigest()


def assert_same_bytes(actual: Any, expected: Any, what: str = "tensor") -> None:
    """AssertionError unless dtype, shape and every byte are equal; devices and strides may differ.

    The report has both tensors' dtype, shape and stride, how many elements differ, the first one's
    index, and both values there, as numbers and in hex.
    """
    if actual.dtype == expected.dtype and actual.shape == expected.shape:
        differs = raw(actual) != raw(expected)
        if not differs.any():
            return
        wrong = differs.any(axis=1).nonzero()[0]
        place = _index(int(wrong[0]), list(actual.shape))
        problem = (
            f"{len(wrong)} of {actual.numel()} elements differ, the first at {place}: "
            f"{_show(actual, place)} instead of {_show(expected, place)}"
        )
    else:
        problem = "dtype or shape differ"
    raise AssertionError(
        f"{what}: {problem}\n  actual:   {_describe(actual)}\n  expected: {_describe(expected)}"
    )


def _index(flat: int, shape: list[int]) -> tuple[int, ...]:
    index: list[int] = []
    for size in reversed(shape):
        index.insert(0, flat % size)
        flat //= size
    return tuple(index)


def _show(tensor: Any, index: tuple[int, ...]) -> str:
    element = tensor[index].detach().cpu()
    return f"{element.item()!r} (0x{raw(element)[0][::-1].tobytes().hex()})"


def _describe(tensor: Any) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}, strides {list(tensor.stride())}, {tensor.device}"
