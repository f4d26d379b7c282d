"""The seasons of all streams, as stacked tables: scores of segments against the time of day and week.

Shapes: R rows (stream, channel), L slots, B blocks, K scored slots, S statistics of a slot or slots of a segment, C channels
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.model.interface import Levels, Segment, SegmentScore, Week
from detector.model.row_types import Rows
from detector.model.seasons import FIELDS, Seasons, widened
from detector.model.tables import Place, Tables
from detector.model.views.runs import CONTEXT
from detector.model.views.season import DAY_S, SEASONS, SeasonTables, Timed, blocks_needed, kind_of, score
from detector.model.week import week_of
from detector.persistence import STATISTICS
from streamer.local_time import local_s
from streamer.timestamps import NS

# What a season adds to the rank of a slot, of the surprise of its slot and its five minutes (longer averages still contain
# what has ended): so much of it for itself and for each decade of the students. Past `_OPENS` it says no more of an order.
_RANKS, _OPENS = 0.2, 5.0
_FINE = [i for i, s in enumerate(STATISTICS) if s.fine]
_DERIVED = {"low": FIELDS["mid"], "high": FIELDS["mid"], "near": FIELDS["few"]}
_WORDS = {
    "none": "usual",
    "day": "usual at this time",
    "weekend": "usual at this time of a {part}",
    "weekday": "usual at this time of a {day}",
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class _Held:
    place: Place
    interval_s: float
    block_s: int
    season: str
    untimed: bool  # weeks have shown no season
    levels: Levels | None


@dataclass(frozen=True)
class _Member:
    index: int
    known: _Held
    count: int


def untimed_of(rows: Rows) -> bool:
    """Whether weeks have shown no channel of a stream to have a season: not before each kind of day has been there.

    >>> rows = {"season": torch.tensor([0, 4]), "trust": torch.ones(2, 7)}
    >>> untimed_of(rows), untimed_of(rows | {"season": torch.tensor([0, 1])}), untimed_of(rows | {"trust": torch.full((2, 7), 0.5)})
    (True, False, False)
    """
    none = (kind_of(rows["season"]) == SEASONS.index("none")).all()
    return bool(none & (rows["trust"] == 1.0).all())


class SeasonBank:
    """Season tables of any number of streams. Not locked: whoever owns it holds a lock of its own.

    >>> SeasonBank(torch.device("cpu")).context_of("web.cpu")
    0
    """

    def __init__(self, device: torch.device) -> None:
        self._tables = Tables({**FIELDS, **_DERIVED}, {}, device)
        self._known: dict[str, _Held] = {}
        self._device = device

    def context_of(self, stream: str) -> int:
        """Slots up to a scored one that its season needs; 0 where it has none."""
        return CONTEXT + 1 if stream in self._known else 0

    def put(self, stream: str, seasons: Seasons, channels: int) -> None:
        """Bring a stream's tables into force; those of a stream of which a channel has none are left out."""
        self.remove(stream)
        if len(seasons) != channels:
            return
        block_s, bank = int(seasons.rows["block"][0]), seasons.bank()
        low, high = (widened(table, block_s) for table in (bank.low, bank.high))
        place = self._tables.add({**seasons.rows, "low": low, "high": high, "near": bank.near}, {})
        season = SEASONS[int(seasons.rows["season"][0])].split(",")[0]
        untimed, levels = untimed_of(seasons.rows), Levels(bank.levels.numpy(), bank.around.numpy())
        self._known[stream] = _Held(
            place,
            float(seasons.rows["interval"][0]),
            block_s,
            season,
            untimed,
            levels if untimed and levels[1].any() else None,
        )

    def remove(self, stream: str) -> None:
        """Forget a stream."""
        known = self._known.pop(stream, None)
        if known is not None:
            self._tables.free(known.place)

    def usual_of(self, stream: str) -> Week | None:
        """Lowest, expected and highest value through a stream's week, as it is judged by; None where it has no season."""
        known = self._known.get(stream)
        if known is None:
            return None
        own = slice(known.place.start, known.place.start + known.place.channels)
        bank = SeasonTables.of_tables({name: table[own] for name, table in self._tables.rows.items()})
        return week_of(bank)

    def add_to(self, segments: Sequence[Segment], scores: Sequence[SegmentScore]) -> None:
        """Fill in what the seasons of their streams say of the segments."""
        groups: dict[tuple[float, int, int], list[_Member]] = {}
        for index, segment in enumerate(segments):
            known = self._known.get(segment.stream)
            if known is None or segment.clock is None or segment.cold or segment.last is None:
                continue
            if known.place.channels != segment.channels or segment.clock.interval_ns != round(known.interval_s * NS):
                continue
            if segment.clock.block_ns != known.block_s * NS:
                continue
            count = len(scores[index].surprise_K)
            if count:
                width = 1 << (count - 1).bit_length()
                groups.setdefault((known.interval_s, known.block_s, width), []).append(_Member(index, known, count))
        for (interval_s, block_s, width), members in sorted(groups.items()):
            self._score(members, interval_s, block_s, width, segments, scores)

    def _score(
        self, members: list[_Member], interval_s: float, block_s: int, width: int, segments: Sequence[Segment],
        scores: Sequence[SegmentScore],
    ) -> None:  # fmt: skip
        starts = np.array([m.known.place.start for m in members])
        sizes = np.array([m.known.place.channels for m in members])
        owner_R = np.repeat(np.arange(len(members)), sizes)
        channel_R = np.arange(len(owner_R)) - (np.cumsum(sizes) - sizes)[owner_R]
        timed = self._timed(members, owner_R, interval_s, block_s, width, segments)
        row_R = torch.from_numpy(starts[owner_R] + channel_R).to(self._device)
        found = score(SeasonTables.of_tables(self._tables.rows), row_R, timed, width)
        each_RKS = found.each_RLS.float().cpu().numpy()
        arrays = (found.surprise_RL, found.sign_RL, found.low_RL, found.high_RL, found.expected_RL)
        most_RK, sign_RK, low_RK, high_RK, expected_RK = (v.float().cpu().numpy() for v in arrays)
        amount_R = self._tables.rows["amount"][row_R].cpu().numpy() > 0
        weekday_R = ((timed.local_RL[:, -1] // DAY_S + 3) % 7).tolist()
        row = 0
        for member, size in zip(members, sizes.tolist(), strict=True):
            out, newest = scores[member.index], slice(width - member.count, None)
            if size == 1:
                season_KS = each_RKS[row, newest]
                at: tuple[Any, Any] = (row, newest)
                out.season_channel_K = _first(member.count)
            else:
                mine = slice(row, row + size)
                loudest_K = most_RK[mine, newest].argmax(0)
                # C channels have C times the chance
                season_KS = np.maximum(each_RKS[mine, newest].max(0) - np.float32(np.log10(size)), np.float32(0.0))
                at = (row + loudest_K, np.arange(width - member.count, width))
                out.season_channel_K = loudest_K.astype(np.int16)
            out.season_KS, out.season_top = season_KS, float(season_KS.max())
            out.rank_K = out.rank_K + _RANKS * (1.0 + out.rank_K) * season_KS[:, _FINE].max(1).clip(max=_OPENS)
            out.season_sign_K, out.season_low_K, out.season_high_K = sign_RK[at], low_RK[at], high_RK[at]
            out.season_expected_K = expected_RK[at]
            # The students' band ends at zero as well where the season has never seen less.
            np.maximum(out.low_KC, 0.0, out=out.low_KC, where=amount_R[row : row + size])
            out.untimed, out.levels = member.known.untimed, member.known.levels
            out.season_word = _word(member.known.season, weekday_R[row])
            row += size

    def _timed(
        self, members: list[_Member], owner_R: np.ndarray, interval_s: float, block_s: int, width: int,
        segments: Sequence[Segment],
    ) -> Timed:  # fmt: skip
        """Slots and blocks of the members, in local time, padded to one width."""
        length, wide = width + CONTEXT, blocks_needed(block_s) + -(-int(width * interval_s) // block_s) + 1
        x_RL = np.full((len(owner_R), length), np.nan, np.float32)
        block_RB = np.empty((len(owner_R), wide), np.float32)
        clocks = [clock for m in members if (clock := segments[m.index].clock) is not None]
        lasts = [last for m in members if (last := segments[m.index].last) is not None]
        interval_ns, block_ns = clocks[0].interval_ns, clocks[0].block_ns
        phase_ns = np.array([clock.phase_ns for clock in clocks], np.int64)[:, None]
        slot_ns = (np.array(lasts, np.int64)[:, None] + np.arange(1 - length, 2)) * interval_ns + phase_ns
        # a block is complete when the next slot lies in a later one
        done = slot_ns[:, 1:] // block_ns - 1
        first = done[:, -1:] - wide + 1
        local, block_local = slot_ns[:, :-1] // NS, (first + np.arange(wide)) * block_s
        for zone in {clock.zone for clock in clocks if clock.zone is not None}:
            there = np.array([clock.zone == zone for clock in clocks])
            local[there], block_local[there] = local_s(zone, local[there]), local_s(zone, block_local[there])
        row = 0
        for i, (member, clock) in enumerate(zip(members, clocks, strict=True)):
            mine = slice(row, row + member.known.place.channels)
            newest_SC = segments[member.index].values_SC[-length:]
            x_RL[mine, length - len(newest_SC) :] = newest_SC.T
            block_RB[mine] = clock.blocks(int(first[i, 0]), wide).T
            row = mine.stop
        done_RL = np.maximum(done - first, -1)[owner_R]

        def to(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self._device)

        return Timed(
            to(x_RL), to(local[owner_R]), to(block_RB), to(block_local[owner_R]), to(done_RL), interval_s, block_s
        )


@lru_cache(maxsize=1024)
def _first(count: int) -> np.ndarray:
    """The first channel, so many times."""
    return np.zeros(count, np.int16)


@lru_cache(maxsize=64)
def _word(season: str, weekday: int) -> str:
    """What the season is, for people, on a day of the week."""
    return _WORDS[season].format(day=_DAYS[weekday], part="weekend day" if weekday >= 5 else "workday")
