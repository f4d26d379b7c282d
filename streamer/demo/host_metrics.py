"""This host's vital signs as demo streams, read with psutil: at least eight, some with several channels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

# A machine with many cores would make a wall of near-identical streams of it.
MAX_CORES = 8
MB = 1_000_000


@dataclass(frozen=True)
class HostStream:
    """One stream: how to read it, and what a person would put into its settings.

    `read` gives channel -> number, cumulative for counters. `floor` is the smallest change that matters, in
    the unit of the stream (for counters: of one sampling interval of 0.1 s), so that idle noise never alerts.
    """

    name: str
    unit: str
    kind: Literal["gauge", "counter"]
    floor: float
    read: Callable[[], Mapping[str, float]]
    labels: Mapping[str, str] = field(default_factory=dict)
    budget: float = 1.0  # expected false alerts in 10 000 slots


def _memory() -> dict[str, float]:
    # psutil's own percentage has one decimal: ten steps of it are a stream of a few values, which it is not.
    memory = psutil.virtual_memory()
    return {"used": 100.0 * (1.0 - memory.available / memory.total), "swap": psutil.swap_memory().percent}


def _load() -> dict[str, float]:
    return {"load1": psutil.getloadavg()[0]}


def _switches() -> dict[str, float]:
    return {"switches": float(psutil.cpu_stats().ctx_switches)}


def _disk() -> dict[str, float]:
    counters = psutil.disk_io_counters()
    if counters is None:  # no block device in sight (some containers)
        return {"read": 0.0, "written": 0.0}
    return {"read": counters.read_bytes / MB, "written": counters.write_bytes / MB}


def _network() -> dict[str, float]:
    counters = psutil.net_io_counters()
    return {"sent": counters.bytes_sent / MB, "received": counters.bytes_recv / MB}


def _processes() -> dict[str, float]:
    return {"count": float(len(psutil.pids()))}


class _Cpu:
    """CPU shares since the last sample, read once a sample for all streams that show a part of it.

    psutil's own `cpu_times_percent` divides by at least one second of CPU time: at 10 Hz its shares are too small.
    """

    def __init__(self) -> None:
        self._before = psutil.cpu_times(percpu=True)
        self._modes = {"busy": 0.0, "user": 0.0, "system": 0.0}
        self._nice = 0.0
        self._cores = [0.0] * len(self._before)

    def sample(self) -> None:
        """Read. The clock of the kernel ticks 100 times a second: between two ticks the last shares stand."""
        now = psutil.cpu_times(percpu=True)
        passed = [_passed(old, new) for old, new in zip(self._before, now, strict=False)]
        whole = {name: sum(core[name] for core in passed) for name in passed[0]} if passed else {}
        if not whole or sum(whole.values()) <= 0.0:
            return
        self._before = now
        self._modes = {
            "busy": _share(whole, set(whole) - _IDLE),
            "user": _share(whole, {"user"}),
            "system": _share(whole, {"system"}),
        }
        self._nice = _share(whole, {"nice"})
        self._cores = [_share(core, set(core) - _IDLE) for core in passed]

    def modes(self) -> dict[str, float]:
        return self._modes

    def nice(self) -> dict[str, float]:
        return {"busy": self._nice}

    def core(self, index: int) -> dict[str, float]:
        # A core can be taken offline while we watch.
        return {"busy": self._cores[index] if index < len(self._cores) else 0.0}


_IDLE = {"idle", "iowait"}
_TWICE = {"guest", "guest_nice"}  # Linux counts them in user and nice as well


def _passed(old: Any, new: Any) -> dict[str, float]:
    """Seconds by mode between two readings of one core."""
    return {name: max(0.0, getattr(new, name) - getattr(old, name)) for name in new._fields if name not in _TWICE}


def _share(seconds: Mapping[str, float], modes: set[str]) -> float:
    """Per cent of the time in these modes, at most 100: summed in another order they may exceed the whole by a rounding."""
    total = sum(seconds.values())
    return min(100.0, 100.0 * sum(seconds.get(mode, 0.0) for mode in modes) / total) if total > 0.0 else 0.0


class HostMetrics:
    """The streams of this host; `sample` reads all of them at one instant (about 0.5 ms)."""

    def __init__(self) -> None:
        cpu = self._cpu = _Cpu()
        cores = range(min(psutil.cpu_count() or 1, MAX_CORES))
        self.streams: list[HostStream] = [
            # A host with work to do bursts: only near saturation, against a normal state well below it, is news.
            HostStream("host.cpu", "%", "gauge", 45.0, cpu.modes),
            # Zero on most hosts. A short history of a constant backs a claim of 1 in some 3 000 at most, so the
            # default budget would keep it silent for two minutes; its floor is guard enough.
            HostStream("host.cpu.nice", "%", "gauge", 10.0, cpu.nice, budget=5.0),
            *(
                HostStream(
                    f"host.cpu.core{index}",
                    "%",
                    "gauge",
                    80.0,
                    lambda index=index: cpu.core(index),  # type: ignore[misc]
                    {"core": str(index)},
                )
                for index in cores
            ),
            HostStream("host.memory", "%", "gauge", 10.0, _memory),
            HostStream("host.load", "processes", "gauge", 2.0, _load),
            HostStream("host.disk", "MB", "counter", 2.0, _disk),
            HostStream("host.network", "MB", "counter", 2.0, _network),
            HostStream("host.switches", "1", "counter", 2_000.0, _switches),
            HostStream("host.processes", "1", "gauge", 25.0, _processes),
        ]

    def sample(self) -> dict[str, Mapping[str, float]]:
        """Stream -> channel -> number, all read now."""
        self._cpu.sample()
        return {stream.name: stream.read() for stream in self.streams}
