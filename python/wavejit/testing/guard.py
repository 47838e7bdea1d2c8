"""Tensors between sentinels: a write outside of them, or between their rows, is found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SENTINEL = 0xA5
MARGIN = 1 << 14  # bytes before and after, a multiple of every alignment that kernels ask for


@dataclass(frozen=True)
class Guarded:
    """`tensor`, and the memory around it that nobody may write."""

    name: str
    tensor: Any
    _memory: Any  # uint8, all of it
    _outside: Any  # bool on the CPU, true where a byte does not belong to the tensor

    def check(self) -> None:
        """AssertionError with the name and the place if a byte outside has changed."""
        now = self._memory.cpu()
        wrong = ((now != SENTINEL) & self._outside).nonzero()
        if len(wrong) == 0:
            return
        first = int(wrong[0])
        size = self.tensor.element_size()
        raise AssertionError(
            f"{self.name}: {len(wrong)} bytes outside of the tensor were written, the first "
            f"{(first - MARGIN) / size:+.2f} elements from its start, "
            f"{(first - (len(now) - MARGIN)) / size:+.2f} from its end; it is "
            f"{self.tensor.dtype} {list(self.tensor.shape)}, strides {list(self.tensor.stride())}"
        )


def guarded(
    content: Any, *, device: Any = None, row_stride: int | None = None, name: str = ""
) -> Guarded:
    """A copy of `content` with sentinel bytes around it, on `device` (default: where content is).

    row_stride: elements from one row of a matrix to the next; what lies between is guarded too.
    """
    import torch

    device = content.device if device is None else torch.device(device)
    shape, size = list(content.shape), content.element_size()
    strides = list(torch.empty(shape, device="meta").stride())
    if row_stride is not None:
        strides[0] = row_stride
    extent = 0
    if math.prod(shape):
        extent = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    memory = torch.full((2 * MARGIN + extent * size,), SENTINEL, dtype=torch.uint8, device=device)
    outside = torch.ones(memory.shape, dtype=torch.bool)
    _view(outside, shape, strides, size).fill_(False)
    tensor = memory[MARGIN : MARGIN + extent * size].view(content.dtype).as_strided(shape, strides)
    tensor.copy_(content)
    return Guarded(name, tensor, memory, outside)


def _view(mask: Any, shape: list[int], strides: list[int], size: int) -> Any:
    """The mask's bytes that belong to the elements."""
    body = mask[MARGIN : len(mask) - MARGIN]
    return body.as_strided([*shape, size], [*(stride * size for stride in strides), 1])


def check_guards(*tensors: Guarded) -> None:
    """`check()` of each."""
    for tensor in tensors:
        tensor.check()
