"""First phase: segments of any lengths become groups of rows that are scored together.

Shapes: R rows (stream, channel), L slots of rows, S slots of a segment, C channels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detector.model.installed import Installed
from detector.model.interface import Segment
from detector.model.pooling import FILL
from detector.model.views.forecast import SEASON_AFTER, SEASON_SPAN

_FOLLOW_MAX = 64  # slots: where more are new, the few before them are soon worked out again


class Group(NamedTuple):
    """Segments scored together: the numbers of slots to score lie within a factor of two."""

    segments: list[int]  # index of each among the segments of the call
    streams: list[str]
    values_RL: Tensor
    season: tuple[Tensor, Tensor] | None  # values around one season before, and two before, when any row has one
    row_R: Tensor  # row in the tables
    stream_R: Tensor  # index into `segments`
    channel_R: Tensor
    seats: Tensor  # place of each stream in the tables of streams
    sizes: list[int]  # channels of each stream
    counts: list[int]  # slots to score of each stream
    width: int  # slots scored of every row; of streams with fewer, the first ones are padding
    follows: bool  # on what the bank has scored last: the trails of the memories hold


@dataclass(frozen=True)
class _Member:
    """One segment of a group."""

    index: int
    installed: Installed
    count: int


def gathered(
    segments: Sequence[Segment], wanted: Sequence[int], installed: Mapping[str, Installed], device: torch.device
) -> tuple[list[Group], dict[int, int]]:
    """Groups of the wanted segments, and of those that cannot be scored: index → slots.

    A segment cannot be scored when its student knows another number of channels, or when no slot has its full context.
    Notes of each student up to which slot it has been scored, so that the next call may follow on this one.
    """
    buckets: dict[tuple[int, int, bool], list[_Member]] = {}
    unscorable: dict[int, int] = {}
    here: set[str] = set()
    for index in wanted:
        segment = segments[index]
        student = installed[segment.stream]
        count = segment.scored(student.reach)
        if student.place.channels != segment.channels or count == 0:
            unscorable[index] = count
            continue
        # A trail ends where the new slots begin, so that these must be all there are.
        first = segment.last - count + 1 if segment.last is not None else None
        again = segment.stream in here  # several pieces in one call: none can wait for another
        follows = first is not None and student.judged == first - 1 and count <= _FOLLOW_MAX and not again
        width = count if follows else 1 << (count - 1).bit_length()
        buckets.setdefault((width, student.near, follows), []).append(_Member(index, student, count))
        student.judged = None if again else segment.last
        here.add(segment.stream)
    # In the order of the tables: the memories of neighbours are then matched without a copy.
    groups = [
        _group(width, near, follows, sorted(members, key=lambda m: m.installed.place.start), segments, device)
        for (width, near, follows), members in sorted(buckets.items())
    ]
    return groups, unscorable


def _group(
    width: int, near: int, follows: bool, members: list[_Member], segments: Sequence[Segment], device: torch.device
) -> Group:
    length = near + width - 1
    sizes = np.array([member.installed.place.channels for member in members])
    values_RL = np.full((int(sizes.sum()), length), np.nan, np.float32)
    seasonal = any(any(member.installed.periods) for member in members)
    once_RL = np.full((len(values_RL), width + SEASON_SPAN + FILL if seasonal else 0), np.nan, np.float32)
    twice_RL = np.full((len(values_RL), width + FILL if seasonal else 0), np.nan, np.float32)
    row = 0
    for member in members:
        installed, values_SC = member.installed, segments[member.index].values_SC
        newest_SC = values_SC[-length:]
        values_RL[row : row + installed.place.channels, length - len(newest_SC) :] = newest_SC.T
        for c, period in enumerate(installed.periods):
            if period:
                _put_last(once_RL[row + c], values_SC[:, c], len(values_SC) - period + SEASON_AFTER)
                _put_last(twice_RL[row + c], values_SC[:, c], len(values_SC) - 2 * period)
        row += installed.place.channels
    starts = np.array([member.installed.place.start for member in members])
    channel_R = np.arange(row) - np.repeat(np.cumsum(sizes) - sizes, sizes)

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Group(
        segments=[member.index for member in members],
        streams=[segments[member.index].stream for member in members],
        values_RL=there(values_RL),
        season=(there(once_RL), there(twice_RL)) if seasonal else None,
        row_R=there(np.repeat(starts, sizes) + channel_R),
        stream_R=there(np.repeat(np.arange(len(members)), sizes)),
        channel_R=there(channel_R),
        seats=there(np.array([member.installed.place.seat for member in members])),
        sizes=sizes.tolist(),
        counts=[member.count for member in members],
        width=width,
        follows=follows,
    )


def _put_last(out_L: np.ndarray, value_S: np.ndarray, stop: int) -> None:
    """Values before `stop` into the end of `out_L`; what is missing stays."""
    piece = value_S[max(0, stop - len(out_L)) : max(0, stop)]
    out_L[len(out_L) - len(piece) :] = piece
