"""Ports of servers that tests kill and start again."""

import atexit
import socket
from collections.abc import Iterator

from streamer.errors import UnavailableError
from streamer.host.embedded import LOOPBACK

# Below the ports that the system gives to connections (32768 and up on Linux, 49152 on others): while a killed server
# is away, no client of a neighbouring test gets its port.
FIRST, LAST = 20_000, 32_000
SLICE = 50


def lasting_port(preferred: int | None = None) -> int:
    """A free TCP port on the loopback interface that nobody else gets, in this process or another.

    Raises:
        UnavailableError: all are given away.
    """
    if preferred is not None and _free(preferred):
        return preferred
    return next(_PORTS)


def lasting_ports(count: int) -> list[int]:
    """So many different ones. Raises UnavailableError."""
    return [lasting_port() for _ in range(count)]


def own_ports() -> dict[str, str]:
    """The environment in which `anomalyllm up` serves free ports, so that the usual ones are left to others."""
    kafka, redis = lasting_ports(2)
    return {
        "ANOMALYLLM_BOOTSTRAP": f"{LOOPBACK}:{kafka}",
        "ANOMALYLLM_REDIS_URL": f"redis://{LOOPBACK}:{redis}/0",
    }


def _given() -> Iterator[int]:
    # The first port of a slice is held: while it is, no other process gives out the rest.
    for first in range(FIRST, LAST, SLICE):
        held = socket.socket()
        try:
            held.bind((LOOPBACK, first))
        except OSError:  # another process's
            held.close()
            continue
        atexit.register(held.close)  # until then it is ours
        yield from filter(_free, range(first + 1, first + SLICE))
    raise UnavailableError(f"no free port on {LOOPBACK} between {FIRST} and {LAST}")


_PORTS = _given()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
