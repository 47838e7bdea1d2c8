"""What the kernels of checked builds (WAVEJIT_CHECKED=1) report: indices outside their tensor.

A library writes to a table on its device (include/wavejit/core/report.cuh). After every call the
table is read, which waits for the call's end, and what it has becomes warnings. While a graph is
captured nothing can be read: a replay adds to the table, and `index_reports` reads it.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from wavejit.jit.errors import WavejitError

_PACKAGE = os.path.dirname(os.path.dirname(__file__))  # wavejit/
# core/report.cuh and host/report.h have these numbers too; a library refuses a table of others.
_KERNELS, _INDICES, _PARTS = 32, 16, 4
_NAME_BYTES = 48
_BITS, _WORD = 16, (1 << 64) - 1
_all: list[Reports] = []
_lock = threading.RLock()


class IndexReport(UserWarning):
    """Indices outside their tensor, which a kernel survived as it does without the check.

    kernel: the launched kernel; index: the argument, or what of the plan; count: how many values;
    row and value: the first of them by row; device: where.
    """

    def __init__(
        self, *, kernel: str, index: str, count: int, row: int, value: int, device: str
    ) -> None:
        values = "1 value lies" if count == 1 else f"{count} values lie"
        super().__init__(
            f"{kernel} on {device}: {index}: {values} outside, the first in row {row}: {value}"
        )
        self.kernel, self.index, self.count = kernel, index, count
        self.row, self.value, self.device = row, value, device


class Reports:
    """What one loaded library has reported, a table for each device that it ran on."""

    def __init__(self, report_to: Callable[..., Any], *, on_cpu: bool) -> None:
        self._report_to = report_to
        self.on_cpu = on_cpu  # CPU tensors are this library's: true for one that is emulated, too
        self._tables: dict[str, Any] = {}
        self._names: Any = None
        self._indices: list[str] = []
        _all.append(self)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, after which what it reported is warned of."""

        @wraps(call, assigned=())
        def checked(*arguments: Any) -> Any:
            devices = {str(a.device) for a in arguments if hasattr(a, "get_device")}
            device = max(devices, default="cpu")  # "cuda:0" where there are both
            if device == "cpu" and not self.on_cpu:
                return call(*arguments)  # a function of the host, or its refusal
            with _lock:
                capturing = _is_capturing(device)
                if device not in self._tables:
                    if capturing:
                        raise WavejitError(
                            "WAVEJIT_CHECKED: the first call of a kernel on a device cannot be "
                            "captured: call it once before, or wavejit.warmup()"
                        )
                    self.prepare(device)
                result = call(*arguments)
                found = [] if capturing else self.take(device)
            _warn(found)
            return result

        return checked

    def prepare(self, device: str) -> None:
        """Make the table for `device` now: a graph's capture must not."""
        import torch

        if device in self._tables:
            return
        with torch.inference_mode(False):
            if self._names is None:
                self._names = torch.zeros(_KERNELS, _NAME_BYTES, dtype=torch.uint8)
            indices = torch.zeros(_INDICES, _NAME_BYTES, dtype=torch.uint8)
            shape = _KERNELS, _INDICES, 1 + _PARTS
            table = torch.zeros(shape, dtype=torch.int64, device=device)
        self._report_to(table, self._names, indices)
        self._indices = [_text(row) for row in indices]
        _wait(device)
        self._tables[device] = table

    def memory(self) -> list[tuple[int, int, str]]:
        """Address, bytes and a name of what an emulated kernel may write beside its tensors."""
        table = self._tables.get("cpu")
        return [] if table is None else [(table.data_ptr(), table.nbytes, "reports")]

    def take(self, device: str) -> list[IndexReport]:
        """What was reported on `device` since the last time, and an empty table."""
        table = self._tables[device]
        found = table.to("cpu", copy=True)
        places = found[..., 0].nonzero().tolist()
        if places:
            table.zero_()
        reports = []
        for kernel, index in places:
            count, *words = (word & _WORD for word in found[kernel, index].tolist())
            parts = [word ^ _WORD for word in words]
            mask = (1 << _BITS) - 1
            value = sum((part & mask) << (_BITS * i) for i, part in enumerate(parts))
            reports.append(
                IndexReport(
                    kernel=_text(self._names[kernel]),
                    index=self._indices[index],
                    count=count,
                    row=parts[0] >> 2 * _BITS,
                    value=value - (1 << 64) if value >> 63 else value,
                    device=device,
                )
            )
        return reports

    def take_all(self) -> list[IndexReport]:
        """What was reported on every device, after all that runs there has ended."""
        found = []
        for device in self._tables:
            _wait(device)
            found += self.take(device)
            _wait(device)  # nothing may report before the table is empty
        return found


def index_reports() -> list[IndexReport]:
    """What checked kernels reported and no call could: those that graphs have replayed.

    Waits for everything that runs on the devices, and empties the tables; not while capturing.
    Without WAVEJIT_CHECKED=1 the list is empty.
    """
    with _lock:
        return [report for reports in _all for report in reports.take_all()]


def _text(row: Any) -> str:
    return bytes(row.tolist()).split(b"\0")[0].decode()


def _is_capturing(device: str) -> bool:
    import torch

    return device != "cpu" and torch.cuda.is_current_stream_capturing()


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def _warn(found: Iterable[IndexReport]) -> None:
    """Warn at the line that called the package."""
    for report in found:
        level, frame = 1, sys._getframe()
        while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
            level, frame = level + 1, frame.f_back
        warnings.warn(report, stacklevel=level)
