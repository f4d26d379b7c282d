"""What the models in force saw of each stream while it was replayed: taken piece by piece, before a ring forgets it.

Shapes: S slots, C channels
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detector.live.looking import look
from streamer.contracts import ModelRecord, StreamSettings
from streamer.errors import AnomalyLLMError
from streamer.overview.bands import Look
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from trainer.replay.stage import Stage

# A model judges so many slots at most before its picture is taken; a ring holds 8 192.
TAKE_SLOTS = 2048
BEFORE_SLOTS = 256  # of what was learnt from that are shown
# Of more streams only the end is drawn, and only of those that alert.
MAX_STREAMS = 50


@dataclass
class Pictures:
    """Pieces of each stream's picture."""

    stage: Stage
    own: Mapping[str, StreamSettings]
    judged_from_ns: int
    pieces: dict[str, list[Look]] = field(default_factory=dict)

    async def headers(self, streams: Iterable[str]) -> dict[str, StreamHeader]:
        """Of the streams that have one."""
        settings = self.stage.settings
        return await read_headers(self.stage.redis, Keys(settings.namespace), sorted(streams), settings.partitioner)

    async def take(self, streams: Iterable[str], models: Mapping[str, ModelRecord], least: int = TAKE_SLOTS) -> None:
        """What is new of streams that have at least so many new slots. A model that cannot be read leaves a gap."""
        for stream, header in (await self.headers(streams)).items():
            if header.state != "grid":
                continue
            before = self.pieces.get(stream)
            known = before[-1].header if before else None
            if known is not None and known.grid_version == header.grid_version:
                slots = header.hi - known.hi
            else:
                first = (self.judged_from_ns - header.phase_ns) // header.interval_ns - BEFORE_SLOTS
                slots = header.hi - max(first, header.lo) + 1
            if slots < max(least, 1):
                continue
            slots = max(2, min(slots, header.hi - header.lo + 1))
            own = self.own.get(stream, StreamSettings())
            try:
                piece = await look(self.stage.settings, self.stage.redis, stream, models.get(stream), own, slots)
            except AnomalyLLMError:
                continue
            if piece is not None:
                self.pieces.setdefault(stream, []).append(piece)

    def whole(self, stream: str) -> Look | None:
        """All pieces of the newest grid as one."""
        pieces = self.pieces.get(stream, [])
        return (
            joined([p for p in pieces if p.header.grid_version == pieces[-1].header.grid_version]) if pieces else None
        )


def joined(pieces: list[Look]) -> Look:
    """Pieces in order of time as one; NaN between them, and of a slot that two have the later piece."""
    last = pieces[-1]
    first, slots = pieces[0].first, last.header.hi - pieces[0].first + 1
    width = last.values_SC.shape[1]
    low_SC, expected_SC, high_SC, values_SC = (np.full((slots, width), np.nan) for _ in range(4))
    surprise_S = np.full(slots, np.nan)
    for piece in pieces:
        here = slice(piece.first - first, piece.first - first + len(piece.values_SC))
        for whole, part in (
            (values_SC, piece.values_SC), (low_SC, piece.low_SC), (expected_SC, piece.expected_SC), (high_SC, piece.high_SC),
        ):  # fmt: skip
            whole[here] = part
        surprise_S[here] = piece.surprise_S
    return Look(
        last.header,
        first,
        values_SC,
        low_SC,
        expected_SC,
        high_SC,
        surprise_S,
        last.threshold,
        last.version,
        last.season,
    )
