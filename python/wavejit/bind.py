"""From a tensor to the loaded module of its device: between an op's function and the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wavejit.jit import arch as archs
from wavejit.jit.api import get
from wavejit.jit.load import Module
from wavejit.jit.spec import KernelSpec

if TYPE_CHECKING:
    from wavejit.emulation import Emulated

_gpus: dict[Any, str] = {}


def arch_of(tensor: Any) -> str:
    """The architecture's name of the tensor's device; a GPU's is remembered."""
    if tensor.is_cpu:
        return archs.host()
    device = tensor.device
    name = _gpus.get(device)
    if name is None:
        name = _gpus[device] = archs.detect(device)
    return name


def module_for(spec: KernelSpec, tensor: Any) -> Module | Emulated:
    """The module of `spec` for the tensor's device, compiled or loaded at its first use.

    CPU tensors whose architecture is a GPU's get one that executes the GPU's code here.
    """
    arch = arch_of(tensor)
    if arch in archs.EMULATED and tensor.is_cpu:
        from wavejit.emulation import emulated

        return emulated(spec, arch)
    return get(spec, arch)


def dtype_name(dtype: Any) -> str:
    """A torch dtype as templates spell it: float32 -> float, bfloat16 -> bfloat16."""
    name = str(dtype).removeprefix("torch.")
    return {"float32": "float"}.get(name, name)


def from_dlpack(tensor: Any) -> Any:
    """The same memory as a tensor of the binding, which calls take without a conversion."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(tensor)
