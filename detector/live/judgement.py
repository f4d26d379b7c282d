"""One stream to be judged in a micro-batch, and the scores that it gets."""

from dataclasses import dataclass, field

from detector.incidents.machine import Rules
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.model.interface import SegmentScore
from streamer.contracts import StreamSettings
from streamer.windows.scale import Scale


@dataclass(slots=True)
class Piece:
    """Consecutive scored slots of one segment."""

    slots: range
    score: SegmentScore | None = None  # in the unit of the data
    scale: Scale | None = None  # of what the bank is given


@dataclass(slots=True)
class Judgement:
    """One stream to be judged: slots `start..hi`, of which those up to `entry.scored` for the second time."""

    entry: Entry
    stream_state: StreamState
    rules: Rules
    settings: StreamSettings
    start: int
    context: int  # slots that a score depends on
    failed: str | None = None  # why its slots could not be scored
    pieces: list[Piece] = field(default_factory=list)

    def find(self, slot: int) -> tuple[SegmentScore, int] | None:
        """Score and index of a slot, None where there is none."""
        for piece in self.pieces:
            if piece.score is not None and slot in piece.slots:
                return piece.score, piece.slots.index(slot)
        return None
