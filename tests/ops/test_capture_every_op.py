"""Every kernel's function in a graph: captured once, replayed with new contents and fewer rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from checked_build import unprepared

from wavejit import bind
from wavejit.testing import assert_same_bytes, parity

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
MOST = 6  # cases of a golden group


class Recorded:
    """A module whose functions are captured and replayed on copies of their arguments first."""

    def __init__(self, module: Any, seen: set[str]) -> None:
        self._module, self._seen = module, seen

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._module, name)

        def call(*arguments: Any) -> Any:
            if any(hasattr(a, "data_ptr") and as_torch(a).is_cuda for a in arguments):
                check_replays(function, arguments)
                self._seen.add(self._module.spec.template)
            return function(*arguments)

        return call


def as_torch(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.from_dlpack(value)


def copies(arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments with memory of their own: what shares memory shares it again."""
    storages: dict[int, Any] = {}
    found = []
    for value in arguments:
        if not hasattr(value, "data_ptr"):
            found.append(value)
            continue
        tensor = as_torch(value)
        storage = tensor.untyped_storage()
        own = storages.setdefault(storage.data_ptr(), storage.clone())
        empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        found.append(empty.set_(own, tensor.storage_offset(), tensor.shape, tensor.stride()))
    return found


def tensors(arguments: list[Any]) -> Iterator[torch.Tensor]:
    return (value for value in arguments if isinstance(value, torch.Tensor) and value.numel())


def is_plan(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.uint8 and tensor.dim() == 2 and tensor.shape[1] in (8, 16)


def change(arguments: list[Any], turn: int) -> None:
    """Turn 0: as they are. 1: every row is another's. 2: the second half of the rows is padding."""
    for tensor in tensors(arguments):
        half = (tensor.shape[0] if tensor.dim() else 0) // 2
        if turn == 1 and tensor.dim():
            tensor.copy_(tensor.roll(1, 0))
        elif turn == 2 and is_plan(tensor):
            tensor[half:] = 0xFF
        elif turn == 2 and tensor.dtype in (torch.int32, torch.int64) and tensor.dim() == 1:
            tensor[half:] = -1


def check_replays(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    function(*copies(arguments))  # loads its code
    static, first = copies(arguments), copies(arguments)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function(*static)
    for turn in range(3):
        given = copies(tuple(first))
        change(given, turn)
        for target, source in zip(tensors(static), tensors(given), strict=True):
            target.copy_(source)
        eager = copies(tuple(given))
        graph.replay()
        function(*eager)
        torch.cuda.synchronize()
        for i, (one, other) in enumerate(zip(tensors(static), tensors(eager), strict=True)):
            assert_same_bytes(one, other, f"turn {turn}, tensor {i}")


@pytest.mark.parametrize("group", sorted(parity.groups()))
def test_replays_are_eager_calls(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(name for name in parity.groups()[group] if "many" not in name)
    if group == "compressors":
        kinds = ("c4-", "c128-", "online-", "plan-", "softmax-")
        names = [n for kind in kinds for n in names if n.startswith(kind)][:: len(names) // 25 + 1]
    seen: set[str] = set()
    real = bind.get
    monkeypatch.setattr(bind, "get", lambda spec, arch: Recorded(real(spec, arch), seen))
    with unprepared():
        for name in names[: MOST * (5 if group == "compressors" else 1)]:
            assert parity.run(name, "cuda") == parity.golden()[name]
    assert group in seen or (group == "compressors" and len(seen) > 4), seen
