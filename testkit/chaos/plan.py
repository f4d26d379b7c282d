"""Which faults, in which order, of which length: the same seed gives the same plan.

Faults come in two lanes that run side by side, those of workers and those of servers and connections.
"""

import random
from collections.abc import Mapping
from typing import NamedTuple


class Fault(NamedTuple):
    """One fault. `kind` names what happens, `target` to what; it lasts `seconds`, and `pause_s` come after it."""

    kind: str
    target: str
    seconds: float
    pause_s: float
    choice: int  # which of several workers or brokers: modulo their number


class Plan(NamedTuple):
    """Both lanes."""

    workers: list[Fault]
    servers: list[Fault]

    @property
    def size(self) -> int:
        """Faults in all."""
        return len(self.workers) + len(self.servers)


# Workers with fixed partitions on the embedded broker. "usurp": another worker takes the partitions of one that is
# frozen, which then goes on. "swap": the two exchange their partitions.
SHORT: Mapping[str, int] = {
    "kill streamer": 3, "kill detector": 2, "freeze streamer": 2, "freeze detector": 2,
    "usurp streamer": 1, "usurp detector": 1, "swap streamer": 1, "swap detector": 1,
    "kill redis": 3, "cut redis": 3, "stall redis": 2, "truncate redis": 3,
    "cut kafka": 2, "stall kafka": 1, "truncate kafka": 3,
}  # fmt: skip
# Workers in groups on three brokers. "resize": the group has one member, then three, then one, then two.
LONG: Mapping[str, int] = {
    "kill streamer": 18, "kill detector": 18, "kill trainer": 6,
    "freeze streamer": 12, "freeze detector": 12, "freeze trainer": 4, "resize streamer": 4, "resize detector": 4,
    "kill redis": 16, "cut redis": 18, "stall redis": 14, "truncate redis": 16,
    "kill broker": 20, "cut kafka": 18, "stall kafka": 14, "truncate kafka": 16,
}  # fmt: skip
WORKERS = ("streamer", "detector", "trainer")
# Seconds that a fault lasts, from and to, in units of the plan's pace. A frozen worker is given up by its group after 6 s.
LASTS = {
    "freeze": (1.0, 5.0),
    "kill redis": (0.3, 1.5),
    "stall": (0.5, 2.0),
    "kill broker": (1.0, 4.0),
    "cut": (0.0, 0.7),
}


def scaled(counts: Mapping[str, int], faults: int) -> dict[str, int]:
    """The same mix with about so many faults, each kind at least once.

    >>> sum(scaled(LONG, 210).values())
    210
    """
    share = faults / sum(counts.values())
    return {kind: max(1, round(count * share)) for kind, count in counts.items()}


def plan(seed: int, counts: Mapping[str, int], pace: float = 1.0) -> Plan:
    """`pace` stretches lengths and pauses.

    >>> made = plan(0, SHORT)
    >>> made.size, made == plan(0, SHORT), made == plan(1, SHORT)
    (30, True, False)
    """
    draw = random.Random(seed)
    lanes: tuple[list[Fault], list[Fault]] = ([], [])
    for name, count in counts.items():
        kind, target = name.split()
        low, high = LASTS.get(name, LASTS.get(kind, (0.0, 0.0)))
        for _ in range(count):
            lasts, pause = draw.uniform(low, high) * pace, draw.uniform(0.5, 1.5) * pace
            lanes[target not in WORKERS].append(Fault(kind, target, lasts, pause, draw.randrange(1 << 16)))
    for lane in lanes:
        draw.shuffle(lane)
    return Plan(*lanes)
