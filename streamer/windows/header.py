"""The small header every stream has in Redis: what its ring holds and how to read it."""

from dataclasses import dataclass, field
from typing import Literal

import orjson

from streamer.windows.coarse import CoarseHead
from streamer.windows.grid import Grid, grid_version_of
from streamer.windows.review import Review
from streamer.windows.stored import stored_as

GridState = Literal["waiting", "grid", "irregular"]


@dataclass(slots=True)
class StreamHeader:
    """State of one stream's window.

    Valid slots are `lo..hi` inclusive (`hi < 0`: nothing on the grid yet); slot s stands at row s mod capacity of
    the ring; row = one float32 per channel, NaN where nothing arrived. Bytes outside lo..hi mean nothing.
    Slot s is centred on the instant s * interval_ns + phase_ns (ns since 1970).
    """

    state: GridState = "waiting"
    grid_version: int = 0
    interval_ns: int = 0
    phase_ns: int = 0
    capacity: int = 0
    channels: list[str] = field(default_factory=list)
    counters: list[bool] = field(default_factory=list)  # channels stored as increase per interval
    # offset and unit a channel: the ring holds (value − offset) / unit (streamer.windows.scale); empty: 0 and 1 for all
    scale: list[tuple[float, float]] = field(default_factory=list)
    rising: list[bool] = field(default_factory=list)  # gauges that have never fallen: they may turn out to count up
    highest: list[float] = field(default_factory=list)  # of counters, the largest raw value ever
    lo: int = 0
    hi: int = -1
    history_hi: int = -1  # slots up to here came with mode=history: learnt from, never alerted on
    seq: int = 0  # sequence number of the newest `windows` notification
    # newest raw counter value (and its slot) that has left the recent rows; later increments start from it
    last_raw: list[float | None] = field(default_factory=list)
    last_raw_slot: list[int] = field(default_factory=list)
    last_seen_ms: int = 0  # record time stamp of the newest point: wall time, for no-data incidents
    pauses: list[int] = field(default_factory=lambda: [0, 0, 0])  # how long it is silent by habit, see `Pauses`
    points: int = 0  # points ever applied
    review: Review = field(default_factory=Review)  # whether its points still follow the grid
    coarse: CoarseHead | None = None  # eight weeks in blocks of minutes; None above an hour per slot

    def to_json(self) -> bytes:
        """As stored."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes) -> "StreamHeader":
        """A stored header, also one of an earlier or later version."""
        body = orjson.loads(raw)
        if body.get("coarse"):
            body["coarse"] = stored_as(CoarseHead, body["coarse"])
        body["review"] = stored_as(Review, body["review"]) if body.get("review") else Review()
        header = stored_as(cls, body)
        header.rising += [False] * (len(header.channels) - len(header.rising))  # an earlier version had none
        header.highest += [0.0] * (len(header.channels) - len(header.highest))
        return header

    @property
    def grid(self) -> Grid:
        """Its grid."""
        return Grid(self.interval_ns, self.phase_ns, self.state == "grid")

    def renumber(self) -> None:
        """Another grid version, by what its values mean now."""
        self.grid_version = grid_version_of(
            self.interval_ns, self.channels, self.counters, self.state == "grid", self.scale
        )

    def slot_at(self, ns: int) -> int:
        """The slot of an instant (ns since 1970), by exact integers."""
        return (2 * (ns - self.phase_ns) + self.interval_ns) // (2 * self.interval_ns)

    def slot_ns(self, slot: int) -> int:
        """The slot's centre in ns since 1970."""
        return slot * self.interval_ns + self.phase_ns
