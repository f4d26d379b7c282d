"""Histories of many streams, brought to equal lengths so that one computation fits them all.

Shapes: S slots of one history, C channels, R rows (stream, channel), L slots of a stack, K any number of slots,
X slots of a history with what is older
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detector.model.archive import Archive
from trainer.fit.archive import joined, slots_of
from trainer.fit.season_past import Past

# Slots of all rows fitted in one pass: 64 rows of 8192 slots need about 1 GB; more rows gain nothing on a CPU.
SLOTS_A_PASS = 64 * 8192
_SHORTEST = 256


class Learnt(NamedTuple):
    """What a student has seen so far."""

    span: tuple[int, int]
    points: int


@dataclass(frozen=True)
class History:
    """What one stream is fitted from."""

    stream: str
    channels: tuple[str, ...]
    values_SC: np.ndarray  # float32 (slots, channels), NaN = gap or excluded
    lo: int  # slot of the first row
    grid_version: int = 0
    before: Learnt | None = None  # what an earlier fit has learnt that is kept
    past: Past | None = None  # both rings, for its season
    archive: Archive = field(default_factory=Archive)  # what the student before carried
    apart: bool = False  # it is carried on, and not learnt from
    shapes: Archive = field(default_factory=Archive)  # the past that shape memories remember, see `past_of`

    @property
    def hi(self) -> int:
        """The last slot."""
        return self.lo + len(self.values_SC) - 1

    @property
    def points(self) -> int:
        """Slots with data in any channel that a student made of it has seen."""
        seen_S = np.isfinite(self.values_SC).any(1)
        if self.before is None:
            return int(seen_S.sum())
        return self.before.points + int(seen_S[max(0, self.before.span[1] + 1 - self.lo) :].sum())

    @property
    def older(self) -> Archive:
        """Of the archive what is learnt from: stretches before the first slot."""
        return Archive() if self.apart else self.archive.until(self.lo)

    @property
    def span(self) -> tuple[int, int]:
        """First and last slot that a student made of it has learnt from."""
        return (self.lo if self.before is None else self.before.span[0], self.hi)


@dataclass(frozen=True)
class Stack:
    """Streams of similar length. Rows of one stream stand together, in the order of its channels."""

    histories: list[History]
    values_RL: Tensor  # float32, NaN on the left of shorter ones
    begin_RL: Tensor  # where the piece begins that a slot is of, a stretch or the ring; 0: what comes first
    stream_R: Tensor  # index into `histories`
    channel_R: Tensor

    @property
    def sizes(self) -> Tensor:
        """Channels of each stream."""
        return torch.tensor([len(h.channels) for h in self.histories], device=self.values_RL.device)

    def by_stream(self, value_RK: Tensor) -> Tensor:
        """(R, K) → (streams, C, K), NaN where a stream has fewer channels than the widest."""
        many = max(len(h.channels) for h in self.histories)
        out = torch.full((len(self.histories), many, value_RK.shape[1]), torch.nan, device=value_RK.device)
        out[self.stream_R, self.channel_R] = value_RK
        return out


def stacks(histories: Iterable[History], device: torch.device) -> list[Stack]:
    """Group by length (within a factor of 2) and cut into passes. Same histories, same stacks."""
    buckets: dict[int, list[History]] = {}
    for history in sorted(histories, key=lambda h: h.stream):
        length = padded(len(history.values_SC) + slots_of(history.older))
        buckets.setdefault(length, []).append(history)
    out = []
    for length, members in sorted(buckets.items()):
        part: list[History] = []
        rows = 0
        for history in members:
            if part and (rows + len(history.channels)) * length > SLOTS_A_PASS:
                out.append(stack_of(part, device, length))
                part, rows = [], 0
            part.append(history)
            rows += len(history.channels)
        out.append(stack_of(part, device, length))
    return out


def padded(slots: int) -> int:
    """Slots that a history is padded to: a power of two, or half as much again."""
    length = max(_SHORTEST, 1 << (slots - 1).bit_length())
    return length * 3 // 4 if length > _SHORTEST and slots <= length * 3 // 4 else length


def stack_of(histories: Sequence[History], device: torch.device, length: int) -> Stack:
    """Histories side by side, padded on the left to `length` slots: a fit depends on it, not on the neighbours."""
    sizes = [len(h.channels) for h in histories]
    values_RL = np.full((sum(sizes), length), np.nan, np.float32)
    begin_RL = np.zeros((sum(sizes), length), np.int64)
    row = 0
    for history, size in zip(histories, sizes, strict=True):
        values_XC, begin_X = joined(history.older, history.values_SC)
        first = length - len(values_XC)
        values_RL[row : row + size, first:] = values_XC.T
        begin_RL[row : row + size, first:] = np.where(begin_X > 0, begin_X + first, 0)
        row += size
    return Stack(
        list(histories),
        torch.from_numpy(values_RL).to(device),
        torch.from_numpy(begin_RL).to(device),
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(device),
        torch.cat([torch.arange(s) for s in sizes]).to(device),
    )
