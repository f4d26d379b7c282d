"""The provoked anomaly of the demo: burns CPU and disk for a bounded time, in processes of its own.

The processes run `python -m streamer.demo.burn cpu SECONDS` and `python -m streamer.demo.burn disk SECONDS FILE`.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

from streamer.host.processes import Child

BLOCK = b"\0" * (2 << 20)
# The file is rewritten from its start at this size; a fast disk is not written faster than the rate below.
FILE_BYTES = 64 << 20
BYTES_PER_S = 60 << 20
# Seen as full load (or, on a host that is busy already, as the time of low-priority processes), and still yields to
# the workers that must notice it.
NICENESS = 5


def burn_cpu(seconds: float) -> None:
    """Keep one core busy."""
    os.nice(NICENESS)
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        sum(range(20_000))


def burn_disk(seconds: float, path: Path) -> None:
    """Write and sync blocks to `path`, within FILE_BYTES of room, then remove it."""
    start = time.monotonic()
    written = 0
    try:
        with path.open("wb", buffering=0) as file:
            while (elapsed := time.monotonic() - start) < seconds:
                time.sleep(max(0.0, written / BYTES_PER_S - elapsed))
                if written % FILE_BYTES == 0:
                    file.seek(0)
                file.write(BLOCK)
                os.fsync(file.fileno())
                written += len(BLOCK)
    finally:
        path.unlink(missing_ok=True)


class Burn:
    """CPU and disk burn: a CPU process a core and one writer, gone after `seconds` or at `stop`."""

    def __init__(self, seconds: float, state_dir: Path) -> None:
        self._file = state_dir / "burn.tmp"
        me, log = [sys.executable, "-m", "streamer.demo.burn"], state_dir / "logs" / "burn.log"
        cores = range(os.cpu_count() or 1)
        self._children = [
            *(Child(f"CPU burn {core}", [*me, "cpu", str(seconds)], log) for core in cores),
            Child("disk burn", [*me, "disk", str(seconds), str(self._file)], log),
        ]

    def start(self) -> None:
        """Start all processes."""
        for child in self._children:
            child.start()

    @property
    def burning(self) -> bool:
        """Whether any of them still runs."""
        return any(child.alive for child in self._children)

    def stop(self) -> None:
        """End at once and remove the file."""
        for child in self._children:
            child.kill()
        self._file.unlink(missing_ok=True)


def main() -> None:
    """Entry of the child processes."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.argv[1] == "cpu":
            burn_cpu(float(sys.argv[2]))
        else:
            burn_disk(float(sys.argv[2]), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
