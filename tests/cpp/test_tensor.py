"""host/tensor.h and host/arguments.h: what they accept, what they refuse, and what they say."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from typing import Any

import cpp_unit
import pytest
import torch
import tvm_ffi

from wavejit.jit import arch as archs
from wavejit.jit import toolchain

EXPORTS = ("dense", "rows", "stride", "any", "others", "pair")
FLOAT, BF16 = torch.float32, torch.bfloat16
Library = Callable[[str], Any]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """library(arch) -> the unit as the host's compiler sees it: a GPU's needs no GPU to match."""
    loaded: dict[str, Any] = {}

    def load(arch: str) -> Any:
        if arch not in loaded:
            folder = tmp_path_factory.mktemp(arch)
            (folder / "unit.cpp").write_text(cpp_unit.unit_text("tensor_unit", arch, EXPORTS))
            flags, _ = toolchain.flags(archs.load(arch))
            command = [toolchain.find(archs.load("host_w32")).host.path, *flags]
            command += [f"-I{path}" for path in cpp_unit.includes()]
            command += ["-O0", "-shared", "unit.cpp", "-o", "unit.so"]
            subprocess.run(command, cwd=folder, check=True)
            loaded[arch] = tvm_ffi.load_module(str(folder / "unit.so"))
        return loaded[arch]

    return load


@pytest.fixture
def here(library: Library) -> Any:
    return library("host_w32")


class _Device(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Capsule:
    """A tensor's DLPack capsule with another device written on it."""

    def __init__(self, tensor: Any, device: tuple[int, int]) -> None:
        self.tensor, self.device = tensor, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self.tensor.__dlpack__()
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        header = _Device.from_address(get(capsule, b"dltensor"))
        header.type, header.id = self.device
        return capsule


def tagged(device_type: int, device_id: int = 0) -> Any:
    """A float [8] whose memory is said to lie on another device."""
    return tvm_ffi.from_dlpack(_Capsule(torch.zeros(8), (device_type, device_id)))


def shifted(tensor: Any, elements: int = 1) -> Any:
    """The same shape, its data `elements` beyond an aligned address."""
    return tensor.new_zeros(tensor.numel() + elements)[elements:].view(tensor.shape)


def refuse(call: Callable[[], Any], error: type[Exception], *parts: str) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), str(caught.value)


X, Y = torch.zeros(3, 4, 8), torch.zeros(3, dtype=BF16)
ACCEPTED = [
    ("dense", (X, Y)),
    ("dense", (torch.zeros(0, 4, 8), torch.zeros(0, dtype=BF16))),
    ("dense", (torch.zeros(1, 4, 8).as_strided((1, 4, 8), (5, 8, 1)), torch.zeros(1, dtype=BF16))),
    ("dense", (shifted(X, 4), shifted(Y))),
    ("dense", (shifted(torch.zeros(0, 4, 8)), torch.zeros(0, dtype=BF16))),
    ("dense", (torch.zeros(4, 8, 0).permute(2, 0, 1), torch.zeros(0, dtype=BF16))),
    ("rows", (torch.zeros(5, 8), torch.zeros(9, 8))),
    ("rows", (torch.zeros(5, 12)[:, :8], torch.zeros(2, 12)[:, 2:10])),
    ("rows", (torch.zeros(5, 12)[:, :8], torch.zeros(1, 8))),
    ("rows", (torch.zeros(1, 12)[:, :8], torch.zeros(9, 8))),
    ("rows", (torch.zeros(5, 8), torch.zeros(0, 8))),
    ("rows", (torch.zeros(1, 8).expand(5, 8), torch.zeros(1, 8).expand(2, 8))),
    ("stride", (torch.zeros(5, 12)[:, :8], 12)),
    ("stride", (torch.zeros(5, 8), 8)),
    ("stride", (torch.zeros(1, 12)[:, :8], 8)),
    ("stride", (torch.zeros(0, 12)[:, :8], 8)),
    ("stride", (torch.zeros(1, 13)[:, :8], 8)),
    ("any", (torch.zeros(2, 3).t(),)),
    ("any", (torch.zeros(2, 3, dtype=BF16),)),
    ("any", (torch.zeros(2, 3, dtype=torch.int32)[:, ::2],)),
    ("any", (torch.zeros(2, 3, dtype=torch.uint8),)),
    ("others", (torch.zeros(2).long(), torch.zeros(2, 16).byte(), 1)),
    ("others", (torch.zeros(2).int(), torch.zeros(2, 16).byte(), 2147483647)),
    ("pair", (torch.zeros(2), torch.ones(2))),
]


@pytest.mark.parametrize("function, arguments", ACCEPTED)
def test_accepted(here: Any, function: str, arguments: tuple[Any, ...]) -> None:
    assert getattr(here, function)(*arguments) is None


REFUSED: list[tuple[str, tuple[Any, ...], type[Exception], tuple[str, ...]]] = [
    # rank, shape, and sizes that an earlier argument has fixed
    ("dense", (X[0], Y), ValueError, ("x: wrong rank", "shape [n, 4, 8]", "got shape [4, 8]")),
    ("dense", (torch.zeros(3, 5, 8), Y), ValueError, ("x: wrong shape", ", 4, 8]", "[3, 5, 8]")),
    ("dense", (X, Y[:2]), ValueError, ("y: wrong shape", "shape [n=3]", "got shape [2]")),
    ("dense", (X, Y[None]), ValueError, ("y: wrong rank", "[n=3]", "[1, 3]")),
    ("dense", (X, torch.zeros((), dtype=BF16)), ValueError, ("y: wrong rank", "[n=3]", "shape []")),
    # dtype
    ("dense", (X.double(), Y), TypeError, ("x: wrong dtype", "float32", "float64")),
    ("dense", (X.half(), Y), TypeError, ("x: wrong dtype", "float32", "float16")),
    ("dense", (X, Y.half()), TypeError, ("y: wrong dtype", "bfloat16", "float16")),
    ("dense", (X, Y.short()), TypeError, ("y: wrong dtype", "bfloat16", "int16")),
    (
        "any",
        (torch.zeros(1, 1, dtype=torch.int8),),
        TypeError,
        ("x: wrong dtype", "float32 or bfloat16 or int32 or uint8", "int8"),
    ),
    ("any", (torch.zeros(1, 1).bool(),), TypeError, ("x: wrong dtype", "uint8", "bool8")),
    ("any", (torch.zeros(1, 1).cfloat(),), TypeError, ("x: wrong dtype", "uint8", "complex64")),
    ("any", (torch.zeros(1, 1).long(),), TypeError, ("x: wrong dtype", "int32", "int64")),
    # strides
    (
        "dense",
        (X.transpose(1, 2).contiguous().transpose(1, 2), Y),
        ValueError,
        ("x: wrong strides",),
    ),
    ("dense", (torch.zeros(6, 4, 8)[::2], Y), ValueError, ("contiguous", "strides [64, 8, 1]")),
    ("dense", (torch.zeros(1, 4, 8).expand(3, 4, 8), Y), ValueError, ("strides [0, 8, 1]",)),
    (
        "dense",
        (X, torch.zeros(6, dtype=BF16)[::2]),
        ValueError,
        ("y: wrong strides", "strides [2]"),
    ),
    (
        "rows",
        (torch.zeros(5, 12)[:, :8], torch.zeros(5, 16)[:, :8]),
        ValueError,
        ("y: wrong strides", "strides [step=12, 1]", "strides [16, 1]"),
    ),
    ("rows", (torch.zeros(5, 16)[:, ::2], X), ValueError, ("x: wrong strides", "1]", "[16, 2]")),
    # alignment of the address and of the strides between rows
    (
        "dense",
        (shifted(X), Y),
        ValueError,
        ("x: wrong alignment", "aligned to 16 bytes", "address 0x"),
    ),
    ("dense", (shifted(X, 2), Y), ValueError, ("x: wrong alignment", "aligned to 16 bytes")),
    ("stride", (torch.zeros(5, 13)[:, :8], 13), ValueError, ("x: wrong alignment", "[13, 1]")),
    (
        "others",
        (torch.zeros(2).long(), shifted(torch.zeros(2, 16).byte(), 8), 1),
        ValueError,
        ("s: wrong alignment", "aligned to 16 bytes"),
    ),
    # what is no tensor, or no number
    ("dense", (None, Y), TypeError, ("x: expected a tensor", "got None")),
    ("dense", (X, 5), TypeError, ("y: expected a tensor", "got an integer")),
    ("dense", (X, 5.0), TypeError, ("y: expected a tensor", "got a float")),
    ("dense", (X, True), TypeError, ("y: expected a tensor", "got a boolean")),
    ("dense", (X, "y"), TypeError, ("y: expected a tensor", "got a string")),
    (
        "others",
        (Y.int(), torch.zeros(3, 16).byte(), 0),
        ValueError,
        ("k: expected", "positive", "0"),
    ),
    ("others", (Y.int(), torch.zeros(3, 16).byte(), -1), ValueError, ("k: expected", "got -1")),
    ("others", (Y.int(), torch.zeros(3, 16).byte(), 1 << 31), ValueError, ("k:", "2147483648")),
    ("others", (Y.int(), torch.zeros(3, 16).byte(), 1.5), TypeError, ("k: expected an integer",)),
    ("others", (Y.int(), torch.zeros(3, 16).byte(), None), TypeError, ("k: expected an integer",)),
    ("others", (Y.float(), torch.zeros(3, 16).byte(), 1), TypeError, ("v:", "int64 or int32")),
    (
        "others",
        (Y.int(), torch.zeros(3, 16).char(), 1),
        TypeError,
        ("s: wrong dtype", "uint8", "int8"),
    ),
    (
        "others",
        (Y.int(), torch.zeros(3, 8).byte(), 1),
        ValueError,
        ("s: wrong shape", "16]", "[3, 8]"),
    ),
    # too few, too many
    ("dense", (), TypeError, ("x is missing", "0 arguments")),
    ("dense", (X,), TypeError, ("y is missing", "1 arguments")),
    ("dense", (X, Y, 1), TypeError, ("expected 2 arguments", "got 3")),
]


@pytest.mark.parametrize("function, arguments, error, parts", REFUSED)
def test_refused(
    here: Any, function: str, arguments: tuple[Any, ...], error: type[Exception], parts: Any
) -> None:
    refuse(lambda: getattr(here, function)(*arguments), error, *parts)


def test_a_refusal_does_not_spoil_the_next_call(here: Any) -> None:
    for _ in range(3):
        refuse(lambda: here.dense(X, Y[:2]), ValueError, "n=3")
        here.dense(X[:2], Y[:2])


CPU, CUDA, CUDA_PINNED, ROCM, ROCM_PINNED, ONE_API = 1, 2, 3, 10, 11, 14


@pytest.mark.parametrize("device", [CPU, CUDA_PINNED, ROCM_PINNED])
def test_the_host_takes_memory_that_it_can_read(here: Any, device: int) -> None:
    here.pair(torch.zeros(8), tagged(device))
    here.pair(tagged(device), torch.zeros(8))


@pytest.mark.parametrize(
    "device, name", [(CUDA, "cuda:0"), (ROCM, "rocm:0"), (ONE_API, "device type:0")]
)
def test_the_host_refuses_the_gpu_s_memory(here: Any, device: int, name: str) -> None:
    said = ("expected a tensor on the CPU", "host_w32", f"got one on {name}")
    refuse(lambda: here.pair(tagged(device), torch.zeros(8)), ValueError, "x: ", *said)
    refuse(lambda: here.pair(torch.zeros(8), tagged(device)), ValueError, "y: ", *said)


@pytest.mark.parametrize("arch", ["sm_90", "gfx942"])
def test_a_gpu_takes_both_spellings_of_its_device(library: Library, arch: str) -> None:
    """torch for ROCm calls its device CUDA or ROCm: both are the GPU, also within one call."""
    module = library(arch)
    for first in (CUDA, ROCM):
        for second in (CUDA, ROCM):
            module.pair(tagged(first, 1), tagged(second, 1))


@pytest.mark.parametrize("arch", ["sm_90", "gfx942"])
def test_a_gpu_refuses_other_memory_and_other_gpus(library: Library, arch: str) -> None:
    module = library(arch)
    for device, name in ((CPU, "cpu:0"), (CUDA_PINNED, "cuda pinned memory:0")):
        said = ("expected a tensor on a GPU", arch, f"got one on {name}")
        refuse(lambda: module.pair(tagged(device), tagged(CUDA)), ValueError, "x: ", *said)  # noqa: B023
        refuse(lambda: module.pair(tagged(ROCM), tagged(device)), ValueError, "y: ", *said)  # noqa: B023
    for second in (CUDA, ROCM):
        refuse(
            lambda: module.pair(tagged(CUDA, 0), tagged(second, 1)),  # noqa: B023
            ValueError,
            "y: expected cuda:0 as the arguments before it",
            ":1",
        )
