"""Families of series, and where their training parts come from. Names decide how examples are split, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.backtest.series import SourceError
from trainer.backtest.sources import INDEX, Item, items_of
from trainer.backtest.tables import Reading
from trainer.gap.signals import generate

GENERATED = "generated"
# Families of one fold are as like each other as families get: what is left out is left out whole.
KIN = (
    ("ucr/ECG", "ucr/ABP", "asd"),  # hearts; application servers
    ("ucr/EPG", "ucr/AirTemperature", "aiops", "wsd"),  # insects, weather; web KPIs
    ("ucr/NASA", "smap", "msl", "ucr/PowerDemand", "gecco"),  # telemetry, plants
    ("ucr/Gait", "ucr/Acceleration", "smd", "tods"),  # moving bodies; servers; sines
)
SERIES = 16  # a family at most, evenly spaced
CHANNELS = 3  # a series at most
SPANS = 2  # of a long history, where series are few
SHORTEST, LONGEST = 768, 8192  # slots of a span: half is learnt from, half is judged
GENERATED_ROWS = 60
_DISTINCT = 16  # a row with fewer values has no shape to depart from


@dataclass(frozen=True)
class Row:
    """One row to learn from: part of a training part."""

    family: str
    name: str
    values_L: npt.NDArray[np.float32]
    shaped: bool  # a stream with so few channels may have shapes


def family_of(data_set: str, item: Item) -> str:
    """Data set, or data set and domain where the index tells one."""
    return f"{data_set}/{item.domain}" if item.domain else data_set


def folds(families: Sequence[str]) -> list[tuple[str, ...]]:
    """Families left out together: kin as given, strangers each for themselves."""
    known = {family for kin in KIN for family in kin}
    out = [tuple(f for f in kin if f in families) for kin in KIN]
    return [fold for fold in out if fold] + [(f,) for f in families if f not in known and f != GENERATED]


def rows_of(root: Path, seed: int) -> list[Row]:
    """Rows of all families of a data set, or of a folder of data sets, and generated ones. Training parts only.

    Raises:
        SourceError: there is no data set.
    """
    by_family: dict[str, list[Item]] = {}
    found = [root / INDEX] if (root / INDEX).exists() else sorted(root.glob(f"*/{INDEX}"))
    if not found:
        raise SourceError(f"{root}: neither an {INDEX} nor folders with one here (docs/backtest.md has the format)")
    for index in found:
        for item in items_of(index.parent, Reading()):
            by_family.setdefault(family_of(index.parent.name, item), []).append(item)
    made = [row for family, items in by_family.items() for row in _family(family, items, seed)]
    rng = np.random.default_rng((seed, 1))
    for at, values_L in enumerate(generate(GENERATED_ROWS, LONGEST, seed)):
        made.append(Row(GENERATED, f"{GENERATED}/{at}", values_L[: _length(rng, LONGEST)], True))
    return made


def _length(rng: np.random.Generator, slots: int) -> int:
    most = min(LONGEST, slots)
    return most if most <= SHORTEST else int(np.exp(rng.uniform(np.log(SHORTEST), np.log(most))))


def _family(family: str, items: Sequence[Item], seed: int) -> list[Row]:
    chosen = [items[i] for i in np.unique(np.linspace(0, len(items) - 1, SERIES).round().astype(int))]
    rng = np.random.default_rng((seed, *family.encode()))
    out = []
    for item in chosen:
        series = item.load()
        values_SC = series.values_SC[: series.train_end]
        rich = [c for c in range(values_SC.shape[1]) if len(np.unique(values_SC[:, c])) >= _DISTINCT]
        for c in rng.permutation(rich)[:CHANNELS].tolist():
            for span in range(SPANS if len(items) < SERIES // 2 else 1):
                length = _length(rng, len(values_SC))
                first = int(rng.integers(0, len(values_SC) - length + 1))
                values_L = values_SC[first : first + length, c]
                if len(values_L) >= SHORTEST // 2 and len(np.unique(values_L[: length // 2])) >= _DISTINCT:
                    out.append(Row(family, f"{item.name}/{c}/{span}", values_L, values_SC.shape[1] <= 4))
    return out
