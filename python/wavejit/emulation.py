"""GPU kernels on tensors of the CPU: the library for gfx942 or gfx950 as it ships, its host
function too, with the interpreter (wavejit.gcn) in the place of AMD's runtime.

    with wavejit.emulate("gfx950") as run:
        wavejit.compress(...)          # CPU tensors
    print(run.traces["c4_decode"].row())
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from wavejit import gcn
from wavejit.jit import arch as archs
from wavejit.jit.api import get
from wavejit.jit.errors import ArchError
from wavejit.jit.load import Module
from wavejit.jit.spec import KernelSpec
from wavejit.source_lines import Lines

_active: list[Emulation] = []
_modules: dict[tuple[KernelSpec, str], Emulated] = {}


class Emulation(ContextDecorator):
    """What `wavejit.emulate` returns: a context manager and a decorator.

    `traces` has what each kernel executed, by its name, and `lines` where its instructions are
    from. Raises ArchError for an architecture that
    cannot be executed here; what a kernel does wrong is raised by the op's call as a
    `wavejit.gcn.EmulationError`.
    """

    def __init__(self, arch: str = "gfx942", *, checks: bool = True, perturb: int = 0) -> None:
        if arch not in archs.EMULATED:
            known = " or ".join(archs.EMULATED)
            raise ArchError(
                f"arch: expected {known}, whose code can be executed here, got {arch!r}"
            )
        if perturb not in (-1, 0, 1):
            raise ValueError(f"perturb: expected -1, 0 or 1, got {perturb!r}")
        self.arch = arch
        self.checks = checks
        self.perturb = perturb
        self.traces: dict[str, gcn.Trace] = {}
        self.lines: dict[str, Lines] = {}  # of each kernel's library
        self._using: list[Any] = []

    def __enter__(self) -> Emulation:
        using = archs.using(self.arch)
        using.__enter__()
        self._using.append(using)
        _active.append(self)
        return self

    def __exit__(self, *raised: Any) -> None:
        _active.pop()
        self._using.pop().__exit__(*raised)


class Emulated:
    """What a `Module` is for a GPU: its functions take CPU tensors, and only those are memory."""

    def __init__(self, spec: KernelSpec, arch: str) -> None:
        self._module: Module = get(spec, arch)
        self._runtime = Runtime(spec, arch)
        self._runtime.reports = self._module.report_memory
        self._module.emulate_with(ctypes.addressof(self._runtime.functions))
        for name in spec.exports:
            setattr(self, name, self._function(getattr(self._module, name)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._module, name)  # type: ignore[no-any-return]

    def _function(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            self._runtime.memory = [
                _extent(value, f"argument {i}")
                for i, value in enumerate(arguments)
                if hasattr(value, "data_ptr")
            ]
            try:
                return call(*arguments)
            except RuntimeError:
                raised = self._runtime.take_raised()
                if raised is None:
                    raise
                raise raised from None

        return run


def emulated(spec: KernelSpec, arch: str) -> Emulated:
    """The module of `spec` whose functions execute the code of `arch` here."""
    module = _modules.get((spec, arch))
    if module is None:
        module = _modules[spec, arch] = Emulated(spec, arch)
    return module


def _extent(tensor: Any, name: str) -> tuple[int, int, str]:
    """Address, bytes and a name of the memory between a tensor's first and last element."""
    shape = [int(size) for size in tensor.shape]
    strides = tensor.stride() if callable(getattr(tensor, "stride", None)) else tensor.strides
    if 0 in shape:
        return int(tensor.data_ptr()), 0, name
    size = _item_size(tensor)
    last = sum((n - 1) * int(step) for n, step in zip(shape, strides))
    return int(tensor.data_ptr()), (last + 1) * size, f"{name} {shape}"


def _item_size(tensor: Any) -> int:
    return int(tensor.itemsize if hasattr(tensor, "itemsize") else tensor.dtype.itemsize)


_pointer, _unsigned = ctypes.c_void_p, ctypes.c_uint
_out = ctypes.POINTER(ctypes.c_void_p)
_SIGNATURES: dict[str, Any] = {
    "get_device": ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int)),
    "set_device": ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int),
    "load": ctypes.CFUNCTYPE(ctypes.c_int, _out, _pointer),
    "function": ctypes.CFUNCTYPE(ctypes.c_int, _out, _pointer, ctypes.c_char_p),
    "launch": ctypes.CFUNCTYPE(
        ctypes.c_int, _pointer, *([_unsigned] * 7), _pointer, ctypes.POINTER(_pointer), _pointer
    ),
    "describe": ctypes.CFUNCTYPE(_pointer, ctypes.c_int),
}


class Runtime:
    """Six functions as AMD's runtime has them, for one library and one device: the interpreter."""

    def __init__(self, spec: KernelSpec, arch: str) -> None:
        self.memory: list[tuple[int, int, str]] = []
        self.reports: Callable[[], list[tuple[int, int, str]]] = list
        self._default = Emulation(arch)
        self._lines = Lines(spec, arch)
        self._code: gcn.CodeObject | None = None
        self._kernels: list[str] = []  # handles count from 1
        self._raised: Exception | None = None
        self._text = ctypes.create_string_buffer(b"the interpreter reported it")
        self._calls = [make(getattr(self, f"_{name}")) for name, make in _SIGNATURES.items()]
        addresses = [ctypes.cast(call, ctypes.c_void_p).value for call in self._calls]
        self.functions = (ctypes.c_void_p * len(addresses))(*addresses)

    def machine_memory(self) -> list[tuple[int, int, str]]:
        """What the kernels of the call may touch."""
        return [*self.memory, *self.reports()]

    def take_raised(self) -> Exception | None:
        """The exception that ended the last launch, once."""
        raised, self._raised = self._raised, None
        return raised

    def _get_device(self, device: Any) -> int:
        device[0] = 0
        return 0

    def _set_device(self, _: int) -> int:
        return 0

    def _load(self, module: Any, image: int) -> int:
        def work() -> None:
            self._code = gcn.CodeObject.parse(ctypes.string_at(image, _size_of_elf(image)))
            self._lines.shipped = self._code
            module[0] = 1

        return self._guarded(work)

    def _function(self, handle: Any, _: int, name: bytes) -> int:
        self._kernels.append(name.decode())
        handle[0] = len(self._kernels)
        return 0

    def _launch(self, handle: int, *rest: Any) -> int:
        *sizes, shared, _stream, params, _extra = rest
        grid, block = tuple(sizes[:3]), tuple(sizes[3:])

        def work() -> None:
            assert self._code is not None
            run = _active[-1] if _active else self._default
            machine = gcn.Machine(self._code, run.checks, run.perturb, locate=self._lines.source_of)
            for extent in self.machine_memory():
                machine.map(*extent)
            name = self._kernels[handle - 1]
            kernarg = _explicit_arguments(self._code.kernels[name], params)
            result = machine.launch(name, grid, block, kernarg, shared)
            if _active:
                run.traces.setdefault(name, gcn.Trace()).merge(result.trace)
                run.lines[name] = self._lines

        return self._guarded(work)

    def _describe(self, _: int) -> int:
        return ctypes.addressof(self._text)

    def _guarded(self, work: Callable[[], None]) -> int:
        """0, or 1 with the exception kept: none may pass through the library's frames."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised again by the caller of the library
            self._raised = error
            return 1
        return 0


def _explicit_arguments(kernel: gcn.Kernel, params: Any) -> bytes:
    """The arguments' block of a kernel from pointers to each of them."""
    size = max((a.offset + a.size for a in kernel.explicit_args), default=0)
    block = bytearray(size)
    for i, argument in enumerate(kernel.explicit_args):
        value = ctypes.string_at(params[i], argument.size)
        block[argument.offset : argument.offset + argument.size] = value
    return bytes(block)


def _size_of_elf(address: int) -> int:
    """Bytes of the ELF at `address`: its section headers come last."""
    header = ctypes.string_at(address, 64)
    start = int.from_bytes(header[40:48], "little")
    entry, count = (int.from_bytes(header[at : at + 2], "little") for at in (58, 60))
    return start + entry * count
