"""What the console knows, in memory, as pages read it: streams, incidents, verdicts. `following` keeps it up to date."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, get_args

from streamer.contracts import OVER, AnomalyEvent, Feedback, Incident, StreamSettings
from streamer.overview.query import SortKey, StreamQuery
from streamer.overview.reading import Overview
from streamer.overview.rows import SEVERITIES, STATES, StreamRow, Tally, dial_of, tally
from streamer.timestamps import NS, parse_timestamp
from streamer.windows.standing import OpenIncident

MOST_ORDERS = 32  # orders of all streams that are kept until a stream changes
_ROW_FIELDS = {
    "incident_id", "revision", "state", "kind", "stream", "tenant", "labels", "severity", "historic", "started_at",
    "updated_at", "ended_at", "score", "threshold", "reason", "warming", "usual", "slots",
}  # fmt: skip
_NOBODY = Tally(0, {}, {}, 0, {})


class Page(NamedTuple):
    """A part of a list."""

    total: int
    rows: list[StreamRow]


class Picture:
    """Everything by name.

    >>> picture = Picture()
    >>> picture.put_streams([StreamRow("web.cpu", 0, "ready"), StreamRow("web.mem", 1, "warming")])
    >>> [row.name for row in picture.page("cpu").rows]
    ['web.cpu']
    """

    def __init__(self) -> None:
        self.streams: dict[str, StreamRow] = {}
        self.incidents: OrderedDict[str, Incident] = OrderedDict()  # newest revision by id, changed last at the end
        self.revisions: dict[str, list[dict[str, Any]]] = {}
        self._lasting: dict[str, Incident] = {}  # those that are open
        self.verdicts: dict[str, list[Feedback]] = {}  # incident id → verdicts
        self.tally: Tally = _NOBODY
        self.overview: Overview | None = None
        self.trouble: dict[str, str] = {}  # what is followed → why it is not, just now
        self._orders: OrderedDict[tuple[str, str, str, bool], list[StreamRow]] = OrderedDict()

    # Filled ----------------------------------------------------------------------------------------------------------

    def put_streams(self, rows: Iterable[StreamRow]) -> None:
        """All streams, as they are now."""
        self.streams = {row.name: row for row in rows}
        for new in self._lasting.values():
            self._stand(new)
        for row in self.streams.values():
            if row.open:
                row.open[:] = [
                    each for each in row.open if each.incident_id in self._lasting or not self._is_over(each)
                ]
        self.tally = tally(list(self.streams.values()))
        self._orders.clear()

    def put_event(self, event: AnomalyEvent, most: int) -> None:
        """A revision that was not heard before; of more than `most` incidents the oldest are forgotten."""
        new = event.data
        steps = self.revisions.setdefault(new.incident_id, [])
        step = {"revision": new.revision, "state": new.state, "severity": new.severity, "at": new.updated_at}
        steps.append({**step, "reason": new.reason})
        steps.sort(key=lambda each: each["revision"])
        before = self.incidents.get(new.incident_id)
        if before is None or before.revision < new.revision:
            self.incidents[new.incident_id] = new
            self.incidents.move_to_end(new.incident_id)
            if is_open(new):
                self._lasting[new.incident_id] = new
            else:
                self._lasting.pop(new.incident_id, None)
            self._stand(new)
        while len(self.incidents) > most:
            oldest, _ = self.incidents.popitem(last=False)
            self.revisions.pop(oldest, None)
            self.verdicts.pop(oldest, None)
            self._lasting.pop(oldest, None)

    def _is_over(self, each: OpenIncident) -> bool:
        """Whether an event has said so: a round over all streams may have read a row just before."""
        return each.incident_id in self.incidents

    def put_settings(self, stream: str, settings: StreamSettings) -> None:
        """What somebody has just set; the next round tells the same."""
        row = self.streams.get(stream)
        if row is not None:
            self.streams[stream] = replace(row, paused=settings.paused, dial=dial_of(settings), labels=settings.labels)
            self._orders.clear()

    def _stand(self, new: Incident) -> None:
        """The stream's row tells it at once; the next round over all streams tells the same."""
        row = self.streams.get(new.stream)
        if row is None:
            return
        others = [each for each in row.open if each.incident_id != new.incident_id]
        if is_open(new):
            since_ms = parse_timestamp(new.started_at) * 1000 // NS
            others.append(OpenIncident(new.incident_id, new.kind, new.severity, since_ms, new.score, new.revision))
        row.open[:] = others
        self._orders.clear()

    def put_verdict(self, feedback: Feedback) -> None:
        """What a person said of an incident."""
        self.verdicts.setdefault(feedback.incident_id, []).append(feedback)

    # Read ------------------------------------------------------------------------------------------------------------

    def page(
        self, words: str = "", state: str = "", sort: str = "incident", reverse: bool = False, first: int = 0,
        count: int = 50,
    ) -> Page:  # fmt: skip
        """Streams that match, sorted. `state` is one of a stream's, or `open` or `muted`."""
        key = (words, state, sort, reverse)
        rows = self._orders.get(key)
        if rows is None:
            by: SortKey = sort if sort in get_args(SortKey) else "incident"  # type: ignore[assignment]
            states = frozenset(known for known in STATES if known == state)
            query = StreamQuery(states=states, alerting=state == "open", sort=by, reverse=reverse, limit=None)
            wanted = matching(words)
            found = [row for row in self.streams.values() if wanted is None or wanted(row.name, row.labels)]
            rows, _ = query.page([row for row in found if row.paused] if state == "muted" else found)
            self._orders[key] = rows
            while len(self._orders) > MOST_ORDERS:
                self._orders.popitem(last=False)
        return Page(len(rows), rows[first : first + count])

    def newest(
        self, words: str = "", state: str = "", severity: str = "", stream: str = "", count: int = 200
    ) -> list[dict[str, Any]]:
        """Incidents that match: open ones first, in each part those with the newest onset."""
        wanted, found = matching(words), []
        for incident in self.incidents.values():
            lasts = is_open(incident)
            if (state == "open" and not lasts) or (state == "over" and lasts):
                continue
            if (severity and incident.severity != severity) or (stream and incident.stream != stream):
                continue
            if wanted is None or wanted(incident.stream, incident.labels):
                found.append((lasts, incident.started_at, incident))
        found.sort(key=lambda each: each[:2], reverse=True)
        return [self.line(incident) for _, _, incident in found[:count]]

    def line(self, incident: Incident) -> dict[str, Any]:
        """An incident as a line of a list."""
        verdicts = self.verdicts.get(incident.incident_id)
        return {
            **incident.model_dump(mode="json", include=_ROW_FIELDS),
            "open": is_open(incident),
            "channel": incident.channels[0].channel if incident.channels else None,
            "verdict": verdicts[-1].verdict if verdicts else None,
        }

    def summary(self) -> dict[str, Any]:
        """What the first page shows; small, for it is sent once a second."""
        seen = self.overview
        open_: dict[str, int] = dict.fromkeys(SEVERITIES, 0)
        for row in self.streams.values():
            for each in row.open:
                open_[each.severity] += 1
        made: dict[str, Any] = {
            "at_ms": int(time.time() * 1000),
            "total": self.tally.total,
            "states": self.tally.by_state,
            "muted": self.tally.paused,
            "open": open_,
            "trouble": list(self.trouble.values()),
        }
        if seen is None:
            return made
        lags = {lag.stage: {"records": lag.records, "seconds": lag.seconds} for lag in seen.lags}
        return {
            **made,
            "trouble": list(dict.fromkeys([*self.trouble.values(), *seen.troubles])),
            "points_per_s": round(seen.rate("streamer"), 1),
            "slots_per_s": round(seen.rate("detector"), 1),
            "workers": {
                room: sum(w.room == room for w in seen.workers) for room in ("streamer", "detector", "trainer")
            },
            "unread": {room: parts for room, parts in seen.unread.items() if parts},
            "lags": lags,
            "letters": seen.dead_letters,
        }


def row_of(row: StreamRow) -> dict[str, Any]:
    """A stream as a line of a list."""
    return {
        "stream": row.name,
        "state": row.state,
        "why": row.why,
        "interval_s": row.interval_s,
        "channels": len(row.channels),
        "last_s": row.last_point,
        "score": row.score,
        "season": row.season,
        "severity": row.worst,
        "open": [asdict(each) for each in row.open],
        "muted": row.paused,
        "dial": row.dial,
        "labels": row.labels,
    }


def is_open(incident: Incident) -> bool:
    """Whether it still lasts."""
    return incident.ended_at is None and incident.state not in OVER


def matching(words: str) -> Callable[[str, dict[str, str]], bool] | None:
    """Whether a name and its labels match all words; None: everything does.

    A word is a part of the name, a pattern with `*`, or `label=value`.

    >>> matching("web.* room=lab")("web.cpu", {"room": "lab"})
    True
    """
    each = words.lower().split()
    if not each:
        return None

    def matches(name: str, labels: dict[str, str]) -> bool:
        name = name.lower()
        return all(_one(word, name, labels) for word in each)

    return matches


def _one(word: str, name: str, labels: dict[str, str]) -> bool:
    key, equals, value = word.partition("=")
    if equals and any(k.lower() == key and v.lower().startswith(value) for k, v in labels.items()):
        return True
    return fnmatchcase(name, word) if "*" in word or "?" in word else word in name
