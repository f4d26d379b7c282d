"""The season tables of some rows, as a student stores them and as a bank stacks them.

A week has 2 016 phases of five minutes, a day 288; blocks that are longer fill several. Usual values are kept in two
bytes, from the row's middle and in its own unit, scales and largest departures to three digits in two; tails in four.

Shapes: R rows that have a season
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from torch import Tensor

from detector.model.row_types import Rows
from detector.model.views.season import DAY_S, FEW, LEVELS, SeasonTables
from detector.model.views.season_modes import MODES
from detector.model.views.season_records import FIGURES
from detector.persistence import STATISTICS, SUMS

PHASE_S = 300
PER_DAY = DAY_S // PHASE_S
KEPT_DAYS = 35  # of which the largest departures are remembered
_HALVED = ("mid", "mean")
_OVER_WEEK, _OVER_DAY = _HALVED, ("down", "up", "slot_scale", "block_scale", "plain_scale", "sum_scale", "calm")
_ROUNDED = (*_OVER_DAY, "worst")
_FINE = sum(statistic.fine for statistic in STATISTICS)

# Of a row, without the leading R.
FIELDS: dict[str, tuple[int, ...]] = {
    "mid": (7 * PER_DAY,),
    "mean": (7 * PER_DAY,),
    "down": (PER_DAY,),
    "up": (PER_DAY,),
    "slot_scale": (PER_DAY,),
    "block_scale": (PER_DAY,),
    "plain_scale": (PER_DAY,),
    "calm": (PER_DAY,),
    "sum_scale": (len(SUMS), PER_DAY),
    "tails": (2 * len(STATISTICS), 3),
    "trust": (7,),
    "few": (),
    "values": (FEW,),
    "longest": (FEW,),
    "worst": (4 * _FINE, KEPT_DAYS),
    "day": (),
    "season": (),
    "amount": (),
    "knee": (),
    "levels": (LEVELS,),
    "around": (LEVELS,),
    "mode_low": (MODES,),
    "mode_high": (MODES,),
    "mode_stay": (MODES,),
    "mode_changes": (),
    "records": (FIGURES,),
    "since": (),  # start of the present level, in days since 1970; 0: there was no other
    "interval": (),  # seconds of a slot
    "block": (),  # seconds of a block
    "stepwise": (),  # 1: the spread is of what blocks differ by from one to the next; of others' it says nothing
}
# Those that artefacts of before decisions 041, 048, 061, 062 and 063 do not have: zeros.
LATER = (
    *("knee", "down", "up", "stepwise", "calm", "levels", "around"),
    *("mode_low", "mode_high", "mode_stay", "mode_changes", "records"),
)
_SPREADS = [i + side for side in (0, len(STATISTICS)) for i, s in enumerate(STATISTICS) if s.spread]  # of the tails


@dataclass(frozen=True)
class Seasons:
    """`rows` (R, …) by the names of FIELDS, float32; row i belongs to row `at[i]` of the students beside it."""

    ROW: ClassVar[str] = "row"

    at: list[int] = field(default_factory=list)
    rows: Rows = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows that have a season."""
        return len(self.at)

    def of(self, first: int, last: int) -> "Seasons":
        """Those of rows first..last−1, counted from `first`."""
        here = [i for i, row in enumerate(self.at) if first <= row < last]
        return Seasons([self.at[i] - first for i in here], {name: value[here] for name, value in self.rows.items()})

    @staticmethod
    def joined(parts: "list[Seasons]", sizes: list[int]) -> "Seasons":
        """Of several stacks one after another; `sizes` are their numbers of rows."""
        at, first = [], 0
        for part, size in zip(parts, sizes, strict=True):
            at += [first + row for row in part.at]
            first += size
        full = [part.rows for part in parts if len(part)]
        return Seasons(at, {name: torch.cat([part[name] for part in full]) for name in FIELDS} if full else {})

    def flat(self) -> dict[str, Tensor]:
        """Tensors of a file."""
        out: dict[str, Tensor] = {self.ROW: torch.tensor(self.at, dtype=torch.int32)}
        for name, value in self.rows.items():
            if name in _HALVED:
                middle = value.median(-1, keepdim=True).values
                unit = ((value - middle).abs().amax(-1, keepdim=True) / 1000).clamp_min(1e-30)
                out[name] = ((value - middle) / unit).half()
                out[f"{name}.from"] = torch.cat([middle, unit], -1)
            else:
                out[name] = value.bfloat16() if name in _ROUNDED else value.float()
        return out

    @classmethod
    def read(cls, part: Callable[[str, int, int], Tensor], low: int, high: int, first: int) -> "Seasons":
        """Rows low..high−1 of a file by slices; `first` is the row that they are counted from."""
        if low == high:
            return cls()
        rows: Rows = {}
        for name in FIELDS:
            value = part(name, low, high).float()
            if name in _HALVED:
                level = part(f"{name}.from", low, high).float()
                value = value * level[:, 1:] + level[:, :1]
            elif name == "worst":  # format 5 wrote the least number for a day without any
                value = torch.where(value > torch.finfo(torch.float32).min, value, -torch.inf)
            rows[name] = value
        rows["calm"] = torch.where(rows["calm"] == 0, 1.0, rows["calm"])
        rows["tails"] = rows["tails"].clone()
        rows["tails"][(rows["stepwise"] == 0).nonzero(), _SPREADS, 1] = torch.inf
        return cls([row - first for row in part(cls.ROW, low, high).tolist()], rows)

    def bank(self) -> SeasonTables:
        """What a fit goes on from: tables by blocks again. All rows have blocks of one length."""
        step = int(self.rows["block"][0]) // PHASE_S
        known = {f.name: self.rows[f.name] for f in fields(SeasonTables) if f.name in FIELDS}
        for name in (*_OVER_WEEK, *_OVER_DAY):
            known[name] = known[name][..., ::step]
        known["day"], known["season"] = known["day"].long(), known["season"].long()
        return SeasonTables(**{**known, "few": known["few"] > 0, "amount": known["amount"] > 0})


def widened(value: Tensor, block_s: int) -> Tensor:
    """A table by blocks as one by phases: longer blocks fill several."""
    return value.repeat_interleave(block_s // PHASE_S, -1)


def stored(bank: SeasonTables, interval_s: float, block_s: int, since_R: Tensor) -> Rows:
    """Rows of `Seasons` of a bank whose streams have one interval and one length of blocks."""
    rows: Rows = {}
    for f in fields(SeasonTables):
        if f.name not in FIELDS:
            continue
        value: Tensor = getattr(bank, f.name)
        if f.name in (*_OVER_WEEK, *_OVER_DAY):
            value = widened(value, block_s)
        rows[f.name] = value.float()
    many = len(rows["few"])
    rows["since"], rows["stepwise"] = since_R.float(), torch.ones(many)
    rows["interval"], rows["block"] = torch.full((many,), float(interval_s)), torch.full((many,), float(block_s))
    return rows
