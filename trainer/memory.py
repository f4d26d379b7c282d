"""How much memory a fit takes, before anything of it is loaded: a fit that does not fit ends the process, again and again.

And what it has taken is given back after it.
"""

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from streamer.windows.header import StreamHeader
from trainer.fit.archive import ALL
from trainer.fit.histories import padded

# Of a number of a history, while it is fitted alone: 0.9 to 1.5 KB were measured (1 to 64 channels, 8 192 to 262 144
# slots, no teacher), on a process of 0.6 GB.
BYTES_A_NUMBER = 2048
# What may be used of what is free: others live here, too.
SHARE = 0.8
# Of one part of a batch, loaded together: 32 MB of rings and of what students carry, and rows whose blocks of eight weeks
# take 130 KB each. A full batch of 512 requests of one channel is one part, and one artefact.
PART_NUMBERS = 1 << 23
PART_ROWS = 1024
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory.stat")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.stat"),
    ),
)


def free_bytes() -> int:
    """Memory that this process may still take: the machine's, or what a container leaves of its limit."""
    free = int(psutil.virtual_memory().available)
    for limit, usage, stat in _CGROUPS:
        try:
            most = limit.read_text().strip()
            if most == "max":
                continue
            given_back = next(
                (int(line.split()[1]) for line in stat.read_text().splitlines() if line.startswith("inactive_file ")), 0
            )
            free = min(free, int(most) - int(usage.read_text()) + given_back)
        except (OSError, ValueError, IndexError):
            continue
    return max(free, 0)


def give_back() -> None:
    """Hand memory that a run has freed back to the system, where the C library keeps it (glibc) and can be asked."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def numbers_of(header: StreamHeader) -> int:
    """Numbers of a stream's history, with what a full ring's student carries and what it is padded by to be stacked."""
    slots = max(0, header.hi - header.lo + 1)
    return len(header.channels) * padded(slots + (ALL if slots >= header.capacity else 0)) if slots else 0


def too_large(header: StreamHeader, free: int) -> str | None:
    """Why a stream's history cannot be fitted in `free` bytes, and what to do; None when it can."""
    need = numbers_of(header) * BYTES_A_NUMBER
    if need <= free * SHARE:
        return None
    return (
        f"a history of {len(header.channels)} channels x {header.hi - header.lo + 1} slots takes about {need / 1e9:.1f} GB "
        f"to be fitted, and {free * SHARE / 1e9:.1f} GB may be used: give the stream a smaller capacity, split it into "
        "several, or give the trainer more memory"
    )


def parts_of(headers: Mapping[str, StreamHeader]) -> Iterator[list[str]]:
    """The streams in parts that are loaded together, in order of their names."""
    part: list[str] = []
    numbers = rows = 0
    for stream, header in sorted(headers.items()):
        own = numbers_of(header)
        if part and (numbers + own > PART_NUMBERS or rows + len(header.channels) > PART_ROWS):
            yield part
            part, numbers, rows = [], 0, 0
        part.append(stream)
        numbers += own
        rows += len(header.channels)
    if part:
        yield part
