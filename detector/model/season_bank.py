"""The seasons of all streams, as stacked tables: scores of segments against the time of day and week.

Shapes: R rows (stream, channel), L slots, B blocks, K scored slots, S statistics of a slot or slots of a segment, C channels
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from detector.model.interface import Segment, SegmentScore
from detector.model.seasons import FIELDS, Seasons
from detector.model.tables import Place, Tables
from detector.model.views.season import CONTEXT, SEASONS, Bank, Timed, blocks_needed, envelope_of, score
from streamer.local_time import local_s
from streamer.timestamps import NS

_DERIVED = {"low": FIELDS["mid"], "high": FIELDS["mid"]}
_WORDS = {
    "none": "usual",
    "day": "usual at this time",
    "weekend": "usual at this time of a {part}",
    "weekday": "usual at this time of a {day}",
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class _Known:
    place: Place
    interval_s: float
    block_s: int
    season: str


@dataclass(frozen=True)
class _Member:
    index: int
    known: _Known
    count: int


class SeasonBank:
    """Season tables of any number of streams. Not locked: whoever owns it holds a lock of its own."""

    def __init__(self, device: torch.device) -> None:
        self._tables = Tables({**FIELDS, **_DERIVED}, {}, device)
        self._known: dict[str, _Known] = {}
        self._device = device

    def context_of(self, stream: str) -> int:
        """Slots up to a scored one that its season needs; 0 where it has none."""
        return CONTEXT + 1 if stream in self._known else 0

    def put(self, stream: str, seasons: Seasons, channels: int) -> None:
        """Bring a stream's tables into force; those of a stream of which a channel has none are left out."""
        self.remove(stream)
        if len(seasons) != channels:
            return
        low_week, high_week = envelope_of(seasons.bank())
        block_s = int(seasons.rows["block"][0])
        step = block_s // 300
        rows = {
            **seasons.rows,
            "low": low_week.repeat_interleave(step, -1),
            "high": high_week.repeat_interleave(step, -1),
        }
        place = self._tables.add(rows, {})
        season = SEASONS[int(seasons.rows["season"][0])].split(",")[0]
        self._known[stream] = _Known(place, float(seasons.rows["interval"][0]), block_s, season)

    def remove(self, stream: str) -> None:
        """Forget a stream."""
        known = self._known.pop(stream, None)
        if known is not None:
            self._tables.free(known.place)

    def add_to(self, segments: Sequence[Segment], scores: list[SegmentScore]) -> list[SegmentScore]:
        """The scores with what the seasons of their streams say."""
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
        out = list(scores)
        for (interval_s, block_s, width), members in sorted(groups.items()):
            self._score(members, interval_s, block_s, width, segments, out)
        return out

    def _score(
        self, members: list[_Member], interval_s: float, block_s: int, width: int, segments: Sequence[Segment],
        out: list[SegmentScore],
    ) -> None:  # fmt: skip
        timed = self._timed(members, interval_s, block_s, width, segments)
        starts = np.array([m.known.place.start for m in members])
        sizes = np.array([m.known.place.channels for m in members])
        channel_R = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        row_R = torch.from_numpy(np.repeat(starts, sizes) + channel_R).to(self._device)
        found = score(Bank.of_tables(self._tables.rows), row_R, timed, width)
        each_RKS, sign_RK = found.each_RLS.float().cpu().numpy(), found.sign_RL.float().cpu().numpy()
        low_RK, high_RK, expected_RK = (
            v.float().cpu().numpy() for v in (found.low_RL, found.high_RL, found.expected_RL)
        )
        row = 0
        for member, size in zip(members, sizes.tolist(), strict=True):
            mine, newest = slice(row, row + size), slice(width - member.count, None)
            each_CKS = each_RKS[mine, newest]
            loudest_K = each_CKS.max(-1).argmax(0)
            k_K = np.arange(member.count)
            # C channels have C times the chance
            season_KS = np.maximum(each_CKS.max(0) - np.log10(size), 0.0)
            picked = (value[mine, newest][loudest_K, k_K] for value in (sign_RK, low_RK, high_RK, expected_RK))
            sign_K, low_K, high_K, expected_K = picked
            out[member.index] = replace(
                out[member.index], season_KS=season_KS, season_top=float(season_KS.max()), season_sign_K=sign_K,
                season_channel_K=loudest_K.astype(np.int16), season_low_K=low_K, season_high_K=high_K,
                season_expected_K=expected_K, season_word=_word(member.known.season, timed, row),
            )  # fmt: skip
            row += size

    def _timed(
        self, members: list[_Member], interval_s: float, block_s: int, width: int, segments: Sequence[Segment]
    ) -> Timed:
        """Slots and blocks of the members, in local time, padded to one width."""
        length, wide = width + CONTEXT, blocks_needed(block_s) + -(-int(width * interval_s) // block_s) + 1
        rows = sum(m.known.place.channels for m in members)
        x_RL = np.full((rows, length), np.nan, np.float32)
        block_RB = np.full((rows, wide), np.nan, np.float32)
        local_RL, done_RL = np.zeros((rows, length), np.int64), np.full((rows, length), -1, np.int64)
        block_local_RB = np.zeros((rows, wide), np.int64)
        row = 0
        for member in members:
            segment, size = segments[member.index], member.known.place.channels
            clock = segment.clock
            assert clock is not None
            assert segment.last is not None
            mine = slice(row, row + size)
            newest_SC = segment.values_SC[-length:]
            x_RL[mine, length - len(newest_SC) :] = newest_SC.T
            slot_L = segment.last - length + 1 + np.arange(length + 1)
            ns_L = slot_L * clock.interval_ns + clock.phase_ns
            local_RL[mine] = local_s(clock.zone, ns_L[:-1] // NS)
            # a block is complete when the next slot lies in a later one
            done_L = ns_L[1:] // clock.block_ns - 1
            first = int(done_L[-1]) - wide + 1
            done_RL[mine] = np.maximum(done_L - first, -1)
            block_RB[mine] = clock.blocks(first, wide).T
            block_local_RB[mine] = local_s(clock.zone, (first + np.arange(wide)) * block_s)
            row += size

        def there(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self._device)

        return Timed(
            there(x_RL), there(local_RL), there(block_RB), there(block_local_RB), there(done_RL), interval_s, block_s
        )


def _word(season: str, timed: Timed, row: int) -> str:
    """What the season is, for people, at the newest slot of a row."""
    day = (int(timed.local_RL[row, -1]) // 86_400 + 3) % 7
    return _WORDS[season].format(day=_DAYS[day], part="weekend day" if day >= 5 else "workday")
