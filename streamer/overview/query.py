"""Which streams somebody wants to see, in which order, and which page of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from streamer.contracts import StreamSettings
from streamer.overview.rows import WORST, State, StreamRow

T = TypeVar("T")
SortKey = Literal["name", "state", "interval", "last", "score", "incident", "points", "model"]


def _lowest(value: float | None) -> float:
    return float("-inf") if value is None else value


# Worst, largest and newest first; names and states in their alphabet.
_KEYS: Mapping[str, Callable[[StreamRow], tuple[object, ...]]] = {
    "name": lambda row: (row.name,),
    "state": lambda row: (row.state, row.name),
    "interval": lambda row: (row.interval_s or 0.0, row.name),
    "last": lambda row: (-_lowest(row.last_point), row.name),
    "score": lambda row: (-_lowest(row.score), row.name),
    "incident": lambda row: (-WORST.get(row.worst or "", 0), -_lowest(row.score), row.name),
    "points": lambda row: (-row.points, row.name),
    "model": lambda row: (-row.model_slots, row.name),
}


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Which streams.

    >>> StreamQuery(glob="web.*").names(["db.cpu", "web.cpu"], {})
    ['web.cpu']
    """

    glob: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)  # all of them
    states: frozenset[State] = frozenset()  # none: any
    alerting: bool = False  # only with an incident that is open
    sort: SortKey = "name"
    reverse: bool = False
    limit: int | None = 50  # None: all
    offset: int = 0

    @property
    def by_name(self) -> bool:
        """Whether names and settings alone tell the page: then no other stream has to be read."""
        return self.sort == "name" and not self.states and not self.alerting

    def names(self, names: Sequence[str], known: Mapping[str, StreamSettings]) -> list[str]:
        """Names (sorted) that pattern and labels let pass."""
        found = [name for name in names if self.glob == "*" or fnmatchcase(name, self.glob)]
        if self.labels:
            wanted = self.labels.items()
            found = [name for name in found if name in known and wanted <= known[name].labels.items()]
        return found

    def page(self, rows: Sequence[StreamRow]) -> tuple[list[StreamRow], int]:
        """The page, and how many there are in all."""
        found = [
            row for row in rows if (not self.states or row.state in self.states) and (row.open or not self.alerting)
        ]
        found.sort(key=_KEYS[self.sort], reverse=self.reverse)
        return self.cut(found), len(found)

    def cut(self, rows: Sequence[T]) -> list[T]:
        """The part of an ordered list that the page shows."""
        end = None if self.limit is None else self.offset + self.limit
        return list(rows[self.offset : end])
