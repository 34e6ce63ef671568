"""How full and how busy the whole machine is: CPU, memory, disk, and GPUs where there are any."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_MEMORY = Path("/proc/meminfo")
_CGROUP_MOST = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
_GPU = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
_GPU_EVERY_S = 10.0
_GPU_PATIENCE_S = 5.0
_MIB = 1024 * 1024
_KIB = 1024


class Gauge:
    """Reads the machine's gauges from look to look, and remembers the peaks.

    Args:
        work: a folder on the disk that the task fills.
        program: the tool that reads GPUs.
    """

    def __init__(self, work: Path, program: str = "nvidia-smi") -> None:
        self.peaks: dict[str, float] = {}
        self._work = work
        self._program = shutil.which(program)
        self._gpus: list[dict[str, float]] = []
        self._gpu_at = float("-inf")
        self._last: tuple[int, int] | None = None

    def look(self, now: float) -> dict[str, Any]:
        """Return the gauges: percent and bytes; `gpus` is a list with one entry each.

        Args:
            now: monotonic seconds.
        """
        used, total = read_memory()
        disk = shutil.disk_usage(self._work)
        found: dict[str, Any] = {
            "cpu_percent": self._cpu(),
            "cpus": os.cpu_count() or 1,
            "memory_used": used,
            "memory_total": total,
            "disk_used": disk.total - disk.free,
            "disk_total": disk.total,
            "gpus": self._look_at_gpus(now),
        }
        for name in ("cpu_percent", "memory_used", "disk_used"):
            self.peaks[name] = max(self.peaks.get(name, 0), found[name])
        for name in ("percent", "memory_used"):
            values = [gpu[name] for gpu in found["gpus"]]
            if values:
                self.peaks[f"gpu_{name}"] = max(self.peaks.get(f"gpu_{name}", 0), *values)
        return found

    def _cpu(self) -> float:
        """Return the percent of all CPUs that were busy since the last look."""
        with suppress(OSError, ValueError, IndexError):
            fields = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
            total, idle = sum(fields), fields[3] + fields[4]
            before, self._last = self._last, (total, idle)
            if before and total > before[0]:
                return round(100 * (1 - (idle - before[1]) / (total - before[0])), 1)
        return 0.0

    def _look_at_gpus(self, now: float) -> list[dict[str, float]]:
        if self._program is None or now - self._gpu_at < _GPU_EVERY_S:
            return self._gpus
        self._gpu_at = now
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [self._program, *_GPU], capture_output=True, text=True, timeout=_GPU_PATIENCE_S, check=True
            )
            self._gpus = read_gpus(done.stdout)
        return self._gpus


def read_memory() -> tuple[int, int]:
    """Return the bytes of memory that are used and that there are; of the control group where that is smaller."""
    used = total = 0
    with suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines() if ":" in line)
        total = int(lines["MemTotal"].split()[0]) * _KIB
        used = total - int(lines["MemAvailable"].split()[0]) * _KIB
    with suppress(OSError, ValueError):
        most = int(_CGROUP_MOST.read_text())
        if 0 < most < total:
            return int(_CGROUP_USED.read_text()), most
    return used, total


def read_gpus(text: str) -> list[dict[str, float]]:
    """Return what nvidia-smi printed, one line per GPU: percent, MiB, MiB."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            percent, used, total = (float(part) for part in line.split(","))
            found.append({"percent": percent, "memory_used": used * _MIB, "memory_total": total * _MIB})
    return found
