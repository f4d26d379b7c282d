"""The shape memories of some rows, as a student stores them: a copy of each row's history and what points into it.

Medoids are ends of windows of that history: two bytes each instead of a window of 24 numbers. The history is kept in two
bytes, and each medoid's distance to the rest of it in one, in 255ths of the largest of its view.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from detector.model.row_types import Rows

_SHORT = 2**15  # ends below it fit two bytes
FARTHEST = 6e4  # of a standardised history, that two bytes can hold
_NONE = -(2**62)  # in place of a slot
_OWN, _LARGEST, _STEPS = "shape.own", "shape.own.largest", 255


@dataclass(frozen=True)
class Memories:
    """`rows` (memories, …) by the names of `Layout.shape_fields`; row i belongs to row `at[i]` of the students beside it."""

    ROW: ClassVar[str] = "row"
    START: ClassVar[str] = "start"
    HISTORY: ClassVar[str] = "history"
    PLACE: ClassVar[str] = "place"

    at: list[int] = field(default_factory=list)
    rows: Rows = field(default_factory=dict)
    # float32 (L,), standardised; NaN = gap. Stretches of the past, with gaps after them, and the ring.
    histories: list[Tensor] = field(default_factory=list)
    # Of each history its last slot, and the first one of each stretch before the ring; nothing where it is not known.
    places: list[list[int]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """(row, history) of each."""
        return iter(zip(self.at, self.histories, strict=True))

    def __len__(self) -> int:
        """Rows that have a memory."""
        return len(self.at)

    def of(self, first: int, last: int) -> "Memories":
        """Those of rows first..last−1, counted from `first`."""
        here = [i for i, row in enumerate(self.at) if first <= row < last]
        rows = {name: value[here] for name, value in self.rows.items()}
        places = [self.places[i] for i in here] if self.places else []
        return Memories([self.at[i] - first for i in here], rows, [self.histories[i] for i in here], places)

    def cpu(self) -> "Memories":
        """The same in the CPU's memory, where the histories are."""
        rows = {name: value.cpu() for name, value in self.rows.items()}
        return Memories(self.at, rows, self.histories, self.places)

    @staticmethod
    def joined(parts: Sequence["Memories"], sizes: Sequence[int]) -> "Memories":
        """Of several stacks one after another; `sizes` are their numbers of rows."""
        at, histories, places, first = list[int](), list[Tensor](), list[list[int]](), 0
        for part, size in zip(parts, sizes, strict=True):
            at += [first + row for row in part.at]
            histories += part.histories
            places += part.places or [[]] * len(part)
            first += size
        full = [part.rows for part in parts if len(part)]
        rows = {name: torch.cat([part[name] for part in full]) for name in full[0]} if full else {}
        return Memories(at, rows, histories, places)

    def flat(self) -> dict[str, Tensor]:
        """Tensors of a file: one history after another, and where each begins."""
        most = max(map(len, self.places), default=0)
        lengths = torch.tensor([0, *(len(history) for history in self.histories)])
        out = {
            self.ROW: torch.tensor(self.at, dtype=torch.int32),
            self.START: lengths.cumsum(0),
            self.HISTORY: (torch.cat(self.histories) if self.histories else torch.zeros(0))
            .clamp(-FARTHEST, FARTHEST)
            .half(),
            self.PLACE: torch.tensor(
                [[*place, *[_NONE] * (most - len(place))] for place in self.places], dtype=torch.int64
            ).reshape(len(self.places), most),
        }
        for name, value in self.rows.items():
            if name == _OWN:
                out[_LARGEST] = value.amax(-1).clamp_min(1e-30).float()
                out[name] = (value * (_STEPS / out[_LARGEST][..., None])).round().to(torch.uint8)
                continue
            short = not value.is_floating_point() and int(value.max()) < _SHORT
            whole = torch.int16 if short else torch.int32
            out[name] = value.float() if value.is_floating_point() else value.to(whole)
        return out

    @classmethod
    def read(
        cls, part: Callable[[str, int, int], Tensor], low: int, high: int, first: int,
        names: Mapping[str, tuple[int, ...]], placed: bool = False,
    ) -> "Memories":  # fmt: skip
        """Rows low..high−1 of a file by slices; `first` is the row that they are counted from; `placed`: it has places."""
        if low == high:
            return cls()
        starts = part(cls.START, low, high + 1).tolist()
        histories = [part(cls.HISTORY, a, b).float() for a, b in pairwise(starts)]
        rows = {name: part(name, low, high) for name in names}
        if not rows[_OWN].is_floating_point():  # format 5 has it in two bytes
            rows[_OWN] = rows[_OWN] * (part(_LARGEST, low, high)[..., None] / _STEPS)
        rows = {name: value.float() if value.is_floating_point() else value.long() for name, value in rows.items()}
        known = part(cls.PLACE, low, high).long().tolist() if placed else []
        places = [[slot for slot in place if slot != _NONE] for place in known] if len(known) == high - low else []
        return cls([row - first for row in part(cls.ROW, low, high).tolist()], rows, histories, places)
