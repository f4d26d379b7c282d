"""Watched streams: what they are judged by, for somebody who looks at them (streamer/windows/judged.py).

The newest slots are scored once more, by the model in force: so the picture is there at once, and streams nobody looks
at cost nothing. Incidents are not decided here.

Shapes: K slots, C channels, S slots of a segment, W phases of a week
"""

import time
from dataclasses import dataclass, field

import numpy as np
import structlog

from detector.live.blocks import KEPT
from detector.live.cache import Entry
from detector.live.judge import PIECE, Judge
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from detector.model.interface import Clock, InstallableBank, Segment, SegmentScore
from streamer.host.worker import Servers
from streamer.kafka.ownership import Ownership
from streamer.local_time import local_s
from streamer.refusals import REDIS_ERRORS
from streamer.timestamps import NS
from streamer.windows.judged import KEEP_S, Float, Judged, Usual, watched
from streamer.windows.ring import read_windows

log = structlog.get_logger(__name__)

PERIOD_S = 1.0
CELLS = 16_384  # numbers of a band that are kept of a stream: 1024 slots of up to 16 channels, fewer of more
SLOTS = 1024
PHASE_S, WEEK_S, MONDAY_S = 300, 7 * 86_400, 4 * 86_400
USUAL_S = 30.0  # a season is written again so often: it changes with its model only


@dataclass
class _Shown:
    """What was scored of a stream."""

    grid_version: int
    model: str | None
    warming: bool
    last: int = -1
    columns: list[list[Float]] = field(default_factory=lambda: [[] for _ in range(5)])
    usual: str = ""
    usual_at: float = float("-inf")


class WatchedStreams:
    """Scores watched streams of this worker's partitions, once in `PERIOD_S`."""

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        judge: Judge,
        bank: InstallableBank,
        owner: Ownership,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._streams = streams
        self._judge = judge
        self._bank = bank
        self._owner = owner
        self._shown: dict[str, _Shown] = {}
        self._next = 0.0

    async def refresh(self) -> None:
        """Look who is watched, score what is new of them; a failure is no concern of the worker's."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PERIOD_S
        try:
            names = await watched(self._servers.redis, self._servers.keys)
            mine = [name for name in names if self._streams.partition(name) in self._owner.owned]
            self._shown = {name: shown for name, shown in self._shown.items() if name in mine}
            for name in mine:
                await self._show(name)
        except REDIS_ERRORS as error:
            log.debug("watched streams not shown", error=str(error))
        except Exception:  # a picture: whatever is wrong with it, incidents are decided elsewhere
            log.exception("watched streams not shown")
            self._shown.clear()

    async def _show(self, stream: str) -> None:
        stream_state, entry = self._streams.states.get(stream), self._streams.entries.get(stream)
        if stream_state is None or entry is None or entry.state != "grid" or not stream_state.judged:
            self._shown.pop(stream, None)
            return
        shown = self._shown.get(stream)
        made = _Shown(entry.grid_version, stream_state.model, stream_state.warming)
        if shown is None or (shown.grid_version, shown.model, shown.warming) != (
            made.grid_version,
            made.model,
            made.warming,
        ):
            shown = made
        context = self._bank.context_of(stream, shown.warming)
        keep = max(64, min(SLOTS, CELLS // max(len(entry.channels), 1)))
        if shown.last < 0 or shown.last + 1 < entry.lowest(context):
            shown = made
            older = await self._older(entry, keep + context)
            if older is None:
                return
            first = max(older.base, older.hi - keep + 1)
            self._score(shown, older, first, context)
        elif entry.hi > shown.last:
            self._score(shown, entry, shown.last + 1, context)
        else:
            return
        self._shown[stream] = shown
        shown.columns = [[np.concatenate(column)[-keep:]] for column in shown.columns]
        await self._write(stream, entry, shown)

    async def _older(self, entry: Entry, slots: int) -> Entry | None:
        """The stream with more slots than are kept in memory."""
        block_ns = entry.blocks.block_ns if entry.blocks is not None else entry.interval_ns
        blocks = KEPT + -(-slots * entry.interval_ns // block_ns)
        windows = await read_windows(
            self._servers.redis, self._servers.keys, [entry.stream], self._settings.partitioner, slots, blocks
        )
        window = windows.get(entry.stream)
        if window is None or window.header.grid_version != entry.grid_version:
            return None
        return Entry(entry.stream, window, slots, window.header.hi)

    def _score(self, shown: _Shown, entry: Entry, first: int, context: int) -> None:
        settings = self._judge.settings_of(entry.stream)
        clock = entry.clock(settings.timezone)
        usual = self._bank.usual_of(entry.stream) if clock is not None and not shown.warming else None
        for at in range(first, entry.hi + 1, PIECE):
            last = min(at + PIECE - 1, entry.hi)
            rows_SC = entry.segment(at, last, context)
            [score] = self._bank.score([Segment(entry.stream, rows_SC, last - at + 1, last, shown.warming, clock)])
            present_K = entry.present(at, last)
            for column, values in zip(shown.columns, _columns(score, present_K), strict=True):
                column.append(values)
            if usual is not None and clock is not None:
                phase_K = phase_of_week(clock, np.arange(at, last + 1))
                for column, table_WC in zip(shown.columns[2:], usual, strict=True):
                    column[-1] = table_WC[phase_K]
            shown.usual = score.season_word or shown.usual
        shown.last = entry.hi

    async def _write(self, stream: str, entry: Entry, shown: _Shown) -> None:
        rules = self._judge.rules_for(entry, shown.warming)
        students_K, season_K, low_KC, expected_KC, high_KC = (column[0] for column in shown.columns)
        judged = Judged(
            shown.grid_version, shown.last - len(students_K) + 1, shown.model, shown.warming, rules.threshold,
            rules.season_opens, shown.usual, students_K, season_K, low_KC, expected_KC, high_KC,
        )  # fmt: skip
        keys, shard = self._servers.keys, self._streams.shard(stream)
        pipe = self._servers.redis.pipeline(transaction=False)
        pipe.set(keys.judged(shard, stream), judged.to_bytes(), ex=KEEP_S)
        now = time.monotonic()
        if now - shown.usual_at >= USUAL_S and shown.model is not None:
            shown.usual_at = now
            usual = self._bank.usual_of(stream)
            if usual is not None:
                pipe.set(
                    keys.usual(shard, stream),
                    Usual(shown.model, self._judge.settings_of(stream).timezone, *usual).to_bytes(),
                    ex=KEEP_S,
                )
        await pipe.execute()


def phase_of_week(clock: Clock, slot_K: np.ndarray) -> np.ndarray:
    """Which phase of five minutes of their local week slots stand in (their centres), counted from Monday 00:00."""
    second_K = local_s(clock.zone, (slot_K.astype(np.int64) * clock.interval_ns + clock.phase_ns) // NS)
    phase_K: np.ndarray = (second_K - MONDAY_S) % WEEK_S // PHASE_S
    return phase_K


def _columns(score: SegmentScore, present_K: np.ndarray) -> tuple[Float, Float, Float, Float, Float]:
    """Surprises of students and season, and the students' band; no score where no value came."""
    students_K = np.where(present_K, score.surprise_K, np.nan).astype(np.float32)
    season_K = np.full(len(students_K), np.nan, np.float32)
    if score.season_KS is not None:
        season_K = np.where(present_K, score.season_KS.max(1), np.nan).astype(np.float32)
    return students_K, season_K, score.low_KC, score.expected_KC, score.high_KC
