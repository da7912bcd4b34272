"""What the machine does while a run trains: processor, memory, GPUs. Read by trackers and the monitor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

GIB = 2**30
FAMILY_SECONDS = 60.0
"""Between two searches for the children of a run's process: finding them means reading every process there is."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, as NVML reports it."""

    index: int
    name: str
    utilisation: float
    """Percent."""
    memory_gib: float
    memory_total_gib: float
    power_watts: float | None


@dataclass(frozen=True)
class SystemMetrics:
    """One look at the machine."""

    cpu_percent: float
    """Of all cores together."""
    memory_gib: float
    memory_total_gib: float
    process_gib: float | None
    """Resident memory of the run's process and its children; None where it is not running here."""
    gpus: tuple[Gpu, ...] = ()

    def scalars(self) -> dict[str, float]:
        """Under the names that charts are grouped by."""
        values = {
            "system/cpu_percent": self.cpu_percent,
            "system/memory_gib": self.memory_gib,
        }
        if self.process_gib is not None:
            values["system/process_memory_gib"] = self.process_gib
        for gpu in self.gpus:
            place = f"system/gpu_{gpu.index}"
            values[f"{place}_percent"] = gpu.utilisation
            values[f"{place}_memory_gib"] = gpu.memory_gib
            if gpu.power_watts is not None:
                values[f"{place}_power_watts"] = gpu.power_watts
        return values


class Probe:
    """Looks at the machine. GPUs are seen where ``nvidia-ml-py`` is installed and a driver answers."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent(interval=None)  # the first call only sets the mark that later ones measure from
        self._nvml = _open_nvml()
        self._family: list[Any] = []
        self._family_of: int | None = None
        self._family_at = 0.0

    def look(self, pid: int | None = None) -> SystemMetrics:
        """The measurements since the last look; `pid`: the run's process."""
        memory = self._psutil.virtual_memory()
        return SystemMetrics(
            cpu_percent=self._psutil.cpu_percent(interval=None),
            memory_gib=(memory.total - memory.available) / GIB,
            memory_total_gib=memory.total / GIB,
            process_gib=None if pid is None else self._resident(pid),
            gpus=_gpus(self._nvml),
        )

    def _resident(self, pid: int) -> float | None:
        """GiB of the process and its children; None where it is gone."""
        if pid != self._family_of or time.monotonic() - self._family_at >= FAMILY_SECONDS:
            self._family, self._family_of, self._family_at = self._find_family(pid), pid, time.monotonic()
        total = 0
        for member in self._family:
            try:
                total += member.memory_info().rss
            except self._psutil.Error:
                if member.pid == pid:
                    return None
        return total / GIB if self._family else None

    def _find_family(self, pid: int) -> list[Any]:
        try:
            process = self._psutil.Process(pid)
            return [process, *process.children(recursive=True)]
        except self._psutil.Error:
            return []


def _open_nvml() -> Any:
    try:
        import pynvml  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _gpus(nvml: Any) -> tuple[Gpu, ...]:
    if nvml is None:
        return ()
    try:
        return tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(
        index,
        name.decode() if isinstance(name, bytes) else str(name),
        _or_zero(nvml, lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)) or 0.0,
        memory.used / GIB,
        memory.total / GIB,
        _or_zero(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    )


def _or_zero(nvml: Any, ask: Any) -> float | None:
    """A value that some devices (e.g. parts of a divided GPU) don't report."""
    try:
        return float(ask())
    except nvml.NVMLError:
        return None
