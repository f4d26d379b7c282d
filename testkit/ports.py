"""Ports of servers that tests kill and start again."""

import random
import socket

from streamer.errors import UnavailableError
from streamer.host.embedded import LOOPBACK

# Below the ports that the system gives to connections (32768 and up on Linux, 49152 on others): while a killed server
# is away, no client of a neighbouring test gets its port.
FIRST, LAST = 20_000, 32_000
TRIES = 100


def lasting_port(preferred: int | None = None, also: int | None = None) -> int:
    """A free TCP port on the loopback interface that stays free while nobody asks for it by number.

    `also`: the port that lies so much above it is free as well, at this moment.

    Raises:
        UnavailableError: none of a hundred was free.
    """
    chosen = [random.randrange(FIRST, LAST) for _ in range(TRIES)]
    for port in chosen if preferred is None else (preferred, *chosen):
        if _free(port) and (also is None or _free(port + also)):
            return port
    raise UnavailableError(f"no free port on {LOOPBACK} between {FIRST} and {LAST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def own_ports() -> dict[str, str]:
    """The environment in which `anomalyllm up` serves free ports, so that the usual ones are left to others."""
    kafka, redis = lasting_ports(2)
    return {
        "ANOMALYLLM_BOOTSTRAP": f"{LOOPBACK}:{kafka}",
        "ANOMALYLLM_REDIS_URL": f"redis://{LOOPBACK}:{redis}/0",
    }


def lasting_ports(count: int) -> list[int]:
    """So many different ones. Raises UnavailableError."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[lasting_port()] = None
    return list(found)
