"""What the compressor refuses: the text names the argument, the expectation and the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import plan_loop
import pytest
import torch

import wavejit
from wavejit.testing import assert_same_bytes, inputs

DIM = 64


def plan_of(decode: bool, device: str, ratio: int = 4) -> Any:
    scheme, lengths = wavejit.RequestRing(2 * ratio), [2 * ratio, ratio]
    if decode:
        return plan_loop.decode_plan(device, [0, 1], lengths, scheme, ratio=ratio)
    return plan_loop.prefill_plan(device, [0, 1], lengths, [2, 1], scheme, ratio=ratio)


def arguments(decode: bool, device: str = "cpu") -> dict[str, Any]:
    rows = 2 if decode else 3
    return {
        "kv_buffer": torch.zeros(6, 4, 4 * DIM, device=device),
        "kv_input": torch.ones(rows, 4 * DIM, device=device),
        "ape": torch.zeros(8, DIM, device=device),
        "plan": plan_of(decode, device),
        "head_dim": DIM,
        "ratio": 4,
        "out": torch.zeros(2, DIM, device=device),
    }


def unaligned(tensor: Any) -> Any:
    """The same values one element away from an aligned address."""
    memory = tensor.new_empty(tensor.numel() + 1)
    return memory[1:].view(tensor.shape).copy_(tensor)


def transposed(tensor: Any) -> Any:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def apart(tensor: Any, by: int) -> Any:
    """Rows with `by` elements between them."""
    return torch.cat((tensor, tensor[:, :by]), dim=1)[:, : tensor.shape[1]]


Change = Callable[[Any], Any]
TENSORS: list[tuple[str, Change, type[Exception], tuple[str, ...]]] = [
    # argument, what is done to it, error, parts of the text beside the argument's name
    ("kv_buffer", lambda t: t.half(), ValueError, ("dtype", "float, bfloat16", "float16")),
    ("kv_buffer", lambda t: t.double(), ValueError, ("dtype", "float, bfloat16", "float64")),
    (
        "kv_buffer",
        lambda t: t.view(24, 4 * DIM),
        ValueError,
        ("rank", "[pages, 4, 256]", "[24, 256]"),
    ),
    ("kv_buffer", lambda t: t[:, :2].contiguous(), ValueError, ("shape", ", 4, 256]", "[6, 2,")),
    ("kv_buffer", lambda t: t[..., :64].contiguous(), ValueError, ("shape", "256]", "[6, 4, 64]")),
    ("kv_buffer", lambda t: t.view(12, 4, 128), ValueError, ("shape", "256]", "[12, 4, 128]")),
    ("kv_buffer", transposed, ValueError, ("strides", "contiguous", "strides [1, ")),
    (
        "kv_buffer",
        lambda t: t[::2],
        ValueError,
        ("strides", "shape [pages, 4, 256], contiguous", "strides [2048, 256, 1]"),
    ),
    ("kv_buffer", unaligned, ValueError, ("alignment", "aligned to 16 bytes", "address 0x")),
    ("kv_input", lambda t: t.half(), ValueError, ("dtype", "float, bfloat16", "float16")),
    ("kv_input", lambda t: t[:, 1:], ValueError, ("shape", "256]", "255]")),
    ("kv_input", lambda t: t[None], ValueError, ("rank", "256]", "256]")),
    ("kv_input", lambda t: t[0], ValueError, ("rank", "256]", "[256]")),
    ("kv_input", transposed, ValueError, ("strides", "[row stride, 1]", "strides [1, ")),
    ("kv_input", lambda t: apart(t, 3), ValueError, ("alignment", "16 bytes", "strides [259, 1]")),
    ("kv_input", unaligned, ValueError, ("alignment", "aligned to 16 bytes", "address 0x")),
    ("ape", lambda t: t.bfloat16(), TypeError, ("dtype", "float32", "bfloat16")),
    ("ape", lambda t: t.view(4, 2 * DIM), ValueError, ("shape", "[8, 64]", "[4, 128]")),
    ("ape", lambda t: t[:4], ValueError, ("shape", "[8, 64]", "[4, 64]")),
    ("ape", lambda t: t.t().contiguous().t(), ValueError, ("strides", "contiguous", "[1, 8]")),
    ("ape", unaligned, ValueError, ("alignment", "aligned to 16 bytes", "address 0x")),
    ("out", lambda t: t.half(), ValueError, ("dtype", "float, bfloat16", "float16")),
    ("out", lambda t: t.int(), ValueError, ("dtype", "float, bfloat16", "int32")),
    ("out", lambda t: t[:1], ValueError, ("shape", "=2, 64]", "[1, 64]")),
    ("out", lambda t: t.repeat(2, 1), ValueError, ("shape", "=2, 64]", "[4, 64]")),
    ("out", lambda t: t[:, :32].contiguous(), ValueError, ("shape", "=2, 64]", "[2, 32]")),
    ("out", lambda t: t.t().contiguous().t(), ValueError, ("strides", "contiguous", "[1, 2]")),
    ("out", unaligned, ValueError, ("alignment", "aligned to 16 bytes", "address 0x")),
]
VALUES: list[tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = [
    ({"head_dim": 0}, ValueError, ("head_dim", "positive", "got 0")),
    ({"head_dim": -1}, ValueError, ("head_dim", "positive", "got -1")),
    ({"head_dim": 100}, ValueError, ("head_dim", "64, 128, 192", "got 100")),
    ({"head_dim": 513}, ValueError, ("head_dim", "64, 128, 192", "got 513")),
    ({"head_dim": "512"}, TypeError, ("head_dim", "an int", "'512'")),
    ({"head_dim": True}, TypeError, ("head_dim", "an int", "True")),
    ({"head_dim": None}, TypeError, ("head_dim", "an int", "None")),
    ({"head_dim": 128}, ValueError, ("kv_buffer", "512]", "256]")),
    ({"ratio": 3}, ValueError, ("ratio", "expected", "got 3")),
    ({"ratio": 128}, ValueError, ("plan: expected one of ratio 128", "one of ratio 4")),
    ({"ratio": 0}, ValueError, ("ratio", "expected", "got 0")),
    ({"ratio": "4"}, ValueError, ("ratio", "expected", "'4'")),
    ({"ratio": 4.0}, ValueError, ("ratio", "expected", "got 4.0")),
    ({"kv_buffer": None}, TypeError, ("kv_buffer", "a torch tensor", "NoneType")),
    ({"kv_input": [1.0]}, TypeError, ("kv_input", "a torch tensor", "list")),
    ({"plan": None}, TypeError, ("plan", "compress_plan_decode", "NoneType")),
    ({"plan": torch.zeros(2)}, TypeError, ("plan", "compress_plan_decode", "Tensor")),
    ({"out": 3}, TypeError, ("out", "a torch tensor", "int")),
]


def refuse(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("name, change, error, parts", TENSORS)
def test_wrong_tensors(
    decode: bool, warm: bool, name: str, change: Change, error: type[Exception], parts: Any
) -> None:
    given = arguments(decode)
    if warm:
        wavejit.compress(**given)
    given[name] = change(given[name])
    refuse(lambda: wavejit.compress(**given), error, (name, *parts))


@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
@pytest.mark.parametrize("with_out", [True, False])
@pytest.mark.parametrize("change, error, parts", VALUES)
def test_wrong_values(
    decode: bool, with_out: bool, change: dict[str, Any], error: type[Exception], parts: Any
) -> None:
    given = arguments(decode)
    wavejit.compress(**given)
    if not with_out:
        del given["out"]
    refuse(lambda: wavejit.compress(**{**given, **change}), error, parts)


@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
def test_plan_of_another_ratio(decode: bool) -> None:
    """Also after a call with a right plan has made everything ready."""
    given = arguments(decode)
    wavejit.compress(**given)
    other = plan_of(decode, "cpu", ratio=128)
    refuse(
        lambda: wavejit.compress(**{**given, "plan": other}),
        ValueError,
        ("plan", "ratio 4", "ratio 128"),
    )


def test_input_rows_and_plan_rows_of_a_decode_step() -> None:
    given = arguments(True)
    given["kv_input"] = torch.ones(3, 4 * DIM)
    refuse(lambda: wavejit.compress(**given), ValueError, ("plan_d", "[requests=3, 16]", "[2, 16]"))


@pytest.mark.parametrize("name, width", [("plan_c", 16), ("plan_w", 8)])
def test_plans_of_another_kind(name: str, width: int) -> None:
    given = arguments(False)
    plan = given["plan"]
    wrong = {
        f"{width}]": torch.zeros(2, width - 4, dtype=torch.uint8),
        "uint8": torch.zeros(2, width, dtype=torch.int8),
    }
    for part, tensor in wrong.items():
        changed = replace(plan, **{name: tensor})
        with pytest.raises((ValueError, TypeError), match=name) as caught:
            wavejit.compress(**{**given, "plan": changed})
        assert part in str(caught.value)
    moved = torch.zeros(2 * width + 1, dtype=torch.uint8)[1:].view(2, width)
    changed = replace(plan, **{name: moved})
    refuse(
        lambda: wavejit.compress(**{**given, "plan": changed}),
        ValueError,
        (name, f"aligned to {min(width, 16)} bytes", "address 0x"),
    )


@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
@pytest.mark.parametrize("name", ["kv_buffer", "kv_input", "ape", "out"])
def test_wrong_device(decode: bool, name: str) -> None:
    """A tensor of no memory, where there is no GPU; one of the other device, where there is.

    kv_input's device chooses the library: where kv_input is the odd one, kv_buffer is refused.
    """
    gpu = torch.cuda.is_available()
    given = arguments(decode, "cuda" if gpu else "cpu")
    given[name] = given[name].cpu() if gpu else given[name].to("meta")
    if gpu:
        parts = (name, "on a GPU", "cpu") if name != "kv_input" else ("kv_buffer", "CPU", "cuda")
        refuse(lambda: wavejit.compress(**given), ValueError, parts)
    else:
        with pytest.raises(Exception, match=r"meta|[Dd]evice"):
            wavejit.compress(**given)


def test_a_refused_call_writes_nothing(device: str) -> None:
    given = arguments(False, device)
    given["out"] = given["out"][:1]
    before = given["kv_buffer"].clone()
    with pytest.raises(ValueError, match="out"):
        wavejit.compress(**given)
    assert_same_bytes(given["kv_buffer"], before)


def test_out_is_returned_and_otherwise_made(device: str) -> None:
    given = arguments(False, device)
    given["kv_input"] = inputs.normal(1, (3, 4 * DIM)).to(device)
    out = given.pop("out")
    made = wavejit.compress(**given)
    assert (made.dtype, made.shape, made.device) == (torch.float32, out.shape, out.device)
    assert wavejit.compress(**given, out=out) is out
    assert_same_bytes(out[0], made[0])
