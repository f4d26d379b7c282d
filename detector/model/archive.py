"""Stretches of a stream's past that its ring no longer holds: its student carries them from fit to fit.

Only a trainer reads them. They are kept in two bytes a number, in scales of the student's rows.

Shapes: B stretches, S slots of one, C channels, R rows (stream, channel)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from detector.model.foreign import Unfit, check_starts
from detector.model.memories import FARTHEST
from detector.model.row_types import Rows

STRETCH = 512  # slots: the widest shape fits in
# Slots between stretches that stand in a row, seen as missing: so many that no window of prototypes spans two of them.
GAP = 24
# What two bytes may be off, as a share and of what is smallest, and four bytes as a share.
_ROUNDED, _SMALLEST, _FLOAT = 2.0**-10, 2.0**-24, 2.0**-22


@dataclass(frozen=True)
class Archive:
    """Stretches of one stream.

    >>> archive = Archive(np.array([0, 1024]), np.zeros((2, STRETCH, 1), np.float32))
    >>> archive.until(1024).first_B.tolist()
    [0]
    """

    START: ClassVar[str] = "start"
    FIRST: ClassVar[str] = "first"
    VALUE: ClassVar[str] = "value"

    # First slot of each, ascending, and numbers of the ring (NaN = gap).
    first_B: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    value_BSC: np.ndarray = field(default_factory=lambda: np.zeros((0, STRETCH, 0), np.float32))

    def __len__(self) -> int:
        """How many stretches."""
        return len(self.first_B)

    def places(self) -> list[int]:
        """The first slots as plain numbers."""
        return [int(first) for first in self.first_B]

    def some(self, index: np.ndarray | slice) -> "Archive":
        """Those of an index or a mask."""
        return Archive(self.first_B[index], self.value_BSC[index])

    def until(self, slot: int) -> "Archive":
        """Those that end before a slot."""
        return self.some(self.first_B + STRETCH <= slot)

    @classmethod
    def flat(
        cls, archives: Sequence["Archive"], widths: list[int], centre_R: Tensor, scale_R: Tensor
    ) -> dict[str, Tensor]:
        """Tensors of a file, one stream after another; `widths` are their channels, which follow one another as rows R."""
        start, values = [0], [torch.zeros(0).half()]
        rows = zip(torch.split(centre_R.cpu(), widths), torch.split(scale_R.cpu(), widths), strict=True)
        for archive, (centre_C, scale_C) in zip(archives, rows, strict=True):
            start.append(start[-1] + len(archive))
            if len(archive):
                x_BSC = (torch.from_numpy(archive.value_BSC) - centre_C) / scale_C
                values.append(x_BSC.clamp(-FARTHEST, FARTHEST).half().flatten())
        first = torch.from_numpy(np.concatenate([archive.first_B for archive in archives]))
        return {cls.START: torch.tensor(start), cls.FIRST: first, cls.VALUE: torch.cat(values)}

    @classmethod
    def read(
        cls, part: Callable[[str, int, int], Tensor], member: int, widths: Sequence[int], rows: Rows
    ) -> "Archive":  # fmt: skip
        """That of one member of a file by slices; `widths` are the channels of all members, `rows` the member's. Raises
        Unfit."""
        starts = part(cls.START, 0, len(widths) + 1).tolist()
        check_starts(starts, 1 << 40)
        sizes = [(high - low) * STRETCH * width for (low, high), width in zip(pairwise(starts), widths, strict=True)]
        at, low, high = sum(sizes[:member]), starts[member], starts[member + 1]
        first_B = part(cls.FIRST, low, high)
        value = part(cls.VALUE, at, at + sizes[member])
        if len(first_B) != high - low or len(value) != sizes[member] or bool((first_B.diff() < STRETCH).any()):
            raise Unfit("an archive's stretches overlap or lie outside the file")
        x_BSC = value.float().reshape(high - low, STRETCH, widths[member])
        value_BSC = x_BSC * rows["scale"] + rows["centre"]
        # A state or a small count comes back as itself: a row that has few values would have more and more of them.
        for level_C in rows["levels"].unbind(1):
            off_BSC = (_ROUNDED * x_BSC.abs() + _SMALLEST) * rows["scale"] + _FLOAT * level_C.abs()
            near_BSC = (value_BSC - level_C).abs() <= off_BSC
            value_BSC = torch.where(near_BSC, level_C, value_BSC)
        return cls(first_B.numpy(), value_BSC.numpy())
