"""What the console knows, in memory: streams, incidents, models, settings, verdicts. Filled by `following`, read by `app`."""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from streamer.contracts import (
    READY_SLOTS,
    AnomalyEvent,
    Feedback,
    Incident,
    ModelRecord,
    Severity,
    StreamSettings,
)
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader

MOST_INCIDENTS = 5_000  # kept of those that are over, the newest; 10 MB
MOST_ANNOUNCED = 12  # model records kept of a stream: `models` itself is compacted
MOST_LETTERS = 100  # dead letters shown
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
_NO_SETTINGS = StreamSettings()
_OVER = ("resolved", "retracted")
Stage = Literal["waiting", "irregular", "cold", "warming", "ready"]
STAGES: tuple[Stage, ...] = ("waiting", "irregular", "cold", "warming", "ready")


@dataclass(slots=True, frozen=True)
class StreamFacts:
    """What is kept of a stream's header."""

    state: str
    grid_version: int
    interval_ns: int
    phase_ns: int
    lo: int
    hi: int
    channels: tuple[str, ...]
    seen_ms: int
    points: int

    @classmethod
    def of(cls, header: StreamHeader) -> "StreamFacts":
        """The part of a header that pages show."""
        return cls(
            header.state, header.grid_version, header.interval_ns, header.phase_ns, header.lo, header.hi,
            tuple(header.channels), header.last_seen_ms, header.points,
        )  # fmt: skip


@dataclass(slots=True)
class Story:
    """An incident: its newest revision, when each came, and what people said of it."""

    incident: Incident
    began_ms: int  # record time of the first revision that was read
    revisions: list[dict[str, Any]]

    @property
    def is_open(self) -> bool:
        """Whether it still lasts."""
        return self.incident.ended_at is None and self.incident.state not in _OVER


class Picture:
    """Everything by name.

    >>> picture = Picture()
    >>> header = StreamHeader("grid", 1, 10**9, 0, 64, ["value"], lo=0, hi=9)
    >>> picture.put_headers({"web.cpu": header, "web.mem": header})
    >>> [row["stream"] for row in picture.rows("cpu", "stream").rows]
    ['web.cpu']
    >>> picture.summary()["streams"]["cold"]
    2
    """

    def __init__(self) -> None:
        self.streams: dict[str, StreamFacts] = {}
        self.settings: dict[str, StreamSettings] = {}
        self.models: dict[str, ModelRecord] = {}
        self.announced: dict[str, deque[ModelRecord]] = {}
        self.stories: OrderedDict[str, Story] = OrderedDict()  # by id, the one changed last at the end
        self.open_of: dict[str, set[str]] = {}  # stream → ids of its open incidents
        self.said: dict[str, list[Feedback]] = {}  # incident id → verdicts
        self.letters: deque[dict[str, Any]] = deque(maxlen=MOST_LETTERS)
        self.letter_counts: Counter[str] = Counter()
        self.trouble: dict[str, str] = {}  # what is followed → why it is not, just now
        self._stages: Counter[str] = Counter()
        self._shadows = 0
        self._sorted: dict[tuple[str, bool], list[str]] = {}
        self._over = 0

    # Filled ----------------------------------------------------------------------------------------------------------

    def put_headers(self, headers: dict[str, StreamHeader]) -> None:
        """All streams, as they are now."""
        self.streams = {stream: StreamFacts.of(header) for stream, header in headers.items()}
        self._sorted.clear()
        self._stages = Counter(self.stage_of(stream) for stream in self.streams)
        self._shadows = sum(record.shadow is not None for record in self.models.values())

    def put_event(self, event: AnomalyEvent, at_ms: int) -> bool:
        """A revision; False when a newer one is known already."""
        new = event.data
        story = self.stories.get(new.incident_id)
        if story is not None and story.incident.revision >= new.revision:
            return False
        if story is None:
            story = self.stories[new.incident_id] = Story(new, at_ms, [])
        elif not story.is_open:
            self._over -= 1
        story.incident = new
        step = {"revision": new.revision, "state": new.state, "severity": new.severity, "at": new.updated_at}
        story.revisions = [*story.revisions, {**step, "written_ms": at_ms, "reason": new.reason}][-50:]
        self.stories.move_to_end(new.incident_id)
        ids = self.open_of.setdefault(new.stream, set())
        if story.is_open:
            ids.add(new.incident_id)
        else:
            self._over += 1
            ids.discard(new.incident_id)
            if not ids:
                del self.open_of[new.stream]
        if self._over > MOST_INCIDENTS:
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        oldest = next(key for key, story in self.stories.items() if not story.is_open)
        del self.stories[oldest]
        self.said.pop(oldest, None)
        self._over -= 1

    def put_model(self, stream: str, record: ModelRecord | None) -> None:
        """A stream's newest model record; None: it has none any more."""
        if record is None:
            self.models.pop(stream, None)
            self.announced.pop(stream, None)
            return
        self.models[stream] = record
        self.announced.setdefault(stream, deque(maxlen=MOST_ANNOUNCED)).append(record)

    def put_verdict(self, said: Feedback) -> None:
        """What a person said of an incident."""
        self.said.setdefault(said.incident_id, []).append(said)

    def put_letter(self, letter: dict[str, Any]) -> None:
        """A dead letter's headers."""
        self.letters.append(letter)
        self.letter_counts[letter["error"]] += 1

    # Read ------------------------------------------------------------------------------------------------------------

    def stage_of(self, stream: str) -> Stage:
        """How far a stream is: on its grid or not, and with what it is judged."""
        facts = self.streams[stream]
        if facts.state == "waiting" or facts.hi < 0:
            return "waiting"
        if facts.state == "irregular":
            return "irregular"
        record = self.models.get(stream)
        ref = record.promoted if record is not None else None
        if ref is None or ref.grid_version != facts.grid_version:
            return "cold"
        return "ready" if ref.points >= READY_SLOTS else "warming"

    def settings_of(self, stream: str) -> StreamSettings:
        """What was set, or the defaults."""
        return self.settings.get(stream, _NO_SETTINGS)

    def worst_open(self, stream: str) -> Incident | None:
        """The most severe open incident of a stream."""
        ids = self.open_of.get(stream)
        if not ids:
            return None
        return min((self.stories[i].incident for i in ids), key=lambda incident: SEVERITIES.index(incident.severity))

    def row(self, stream: str) -> dict[str, Any]:
        """A stream as a line of a list."""
        facts, settings, worst = self.streams[stream], self.settings_of(stream), self.worst_open(stream)
        record = self.models.get(stream)
        return {
            "stream": stream,
            "stage": self.stage_of(stream),
            "shadow": record is not None and record.shadow is not None,
            "interval_s": facts.interval_ns / NS or None,
            "channels": len(facts.channels),
            "last_ms": (facts.hi * facts.interval_ns + facts.phase_ns) // 1_000_000 if facts.hi >= 0 else None,
            "severity": worst.severity if worst is not None else None,
            "incident": worst.incident_id if worst is not None else None,
            "muted": settings.paused,
            "per_week": settings.alerts_per_week,
            "labels": settings.labels,
        }

    def rows(
        self, query: str = "", sort: str = "severity", descending: bool = False, stage: str = "", first: int = 0,
        count: int = 50,
    ) -> "Rows":  # fmt: skip
        """Some lines of the list of streams that match, sorted."""
        names: Iterable[str] = self._order(sort, descending)
        wanted = matching(query)
        if wanted is not None:
            names = (name for name in names if wanted(name, self.settings_of(name).labels))
        if stage == "open":
            names = (name for name in names if name in self.open_of)
        elif stage == "muted":
            names = (name for name in names if self.settings_of(name).paused)
        elif stage:
            names = (name for name in names if self.stage_of(name) == stage)
        found = names if isinstance(names, list) else list(names)
        return Rows(len(found), first, [self.row(name) for name in found[first : first + count]])

    def _order(self, sort: str, descending: bool) -> list[str]:
        """All names in an order, kept until headers come anew; severities change between, and are put in front."""
        by_severity = sort == "severity"
        key = ("stream" if by_severity else sort, descending and not by_severity)
        names = self._sorted.get(key)
        if names is None:
            names = self._sorted[key] = sorted(self.streams, key=self._key(key[0]), reverse=key[1])
        if not by_severity:
            return names
        worst = {stream: self.worst_open(stream) for stream in self.open_of if stream in self.streams}
        ranked = sorted((SEVERITIES.index(w.severity), stream) for stream, w in worst.items() if w is not None)
        front = [stream for _, stream in ranked]
        return front + [name for name in names if name not in worst]

    def _key(self, sort: str) -> Callable[[str], tuple[Any, str]]:
        if sort == "stage":
            return lambda name: (STAGES.index(self.stage_of(name)), name)
        if sort == "interval":
            return lambda name: (self.streams[name].interval_ns, name)
        if sort == "last":
            return lambda name: (self.streams[name].seen_ms, name)
        return lambda name: ("", name)

    def incidents(
        self, query: str = "", state: str = "", severity: str = "", stream: str = "", count: int = 200
    ) -> list[dict[str, Any]]:
        """The newest incidents that match: open ones first, each part with the newest onset first."""
        wanted = matching(query)
        found = []
        for story in self.stories.values():
            incident = story.incident
            if (state == "open" and not story.is_open) or (state == "over" and story.is_open):
                continue
            if (severity and incident.severity != severity) or (stream and incident.stream != stream):
                continue
            if wanted is None or wanted(incident.stream, incident.labels):
                found.append(story)
        found.sort(key=lambda story: (story.is_open, story.incident.started_at), reverse=True)
        return [self.incident_row(story) for story in found[:count]]

    def incident_row(self, story: Story) -> dict[str, Any]:
        """An incident as a line of a list."""
        incident = story.incident
        said = self.said.get(incident.incident_id)
        return {
            **incident.model_dump(
                mode="json",
                include={
                    "incident_id", "revision", "state", "kind", "stream", "tenant", "labels", "severity", "historic",
                    "started_at", "updated_at", "ended_at", "score", "threshold", "reason", "warming", "usual", "slots",
                },
            ),
            "open": story.is_open,
            "channel": incident.channels[0].channel if incident.channels else None,
            "verdict": said[-1].verdict if said else None,
        }  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Counts for the first page."""
        open_ = [self.stories[i].incident for ids in self.open_of.values() for i in ids]
        severities = Counter(incident.severity for incident in open_)
        return {
            "at_ms": int(time.time() * 1000),
            "total": len(self.streams),
            "streams": {stage: self._stages[stage] for stage in STAGES},
            "shadows": self._shadows,
            "muted": sum(settings.paused for settings in self.settings.values()),
            "open": {severity: severities[severity] for severity in SEVERITIES},
            "letters": dict(self.letter_counts.most_common(12)),
            "trouble": self.trouble,
        }


@dataclass(slots=True, frozen=True)
class Rows:
    """A part of a list."""

    total: int
    first: int
    rows: list[dict[str, Any]]


def matching(query: str) -> Callable[[str, dict[str, str]], bool] | None:
    """Whether a name and its labels match all words of a query; None: everything does.

    A word is a part of the name, a pattern with `*`, or `label=value`.

    >>> matching("web.* room=lab")("web.cpu", {"room": "lab"})
    True
    """
    words = query.lower().split()
    if not words:
        return None

    def matches(name: str, labels: dict[str, str]) -> bool:
        name = name.lower()
        return all(_word(word, name, labels) for word in words)

    return matches


def _word(word: str, name: str, labels: dict[str, str]) -> bool:
    key, equals, value = word.partition("=")
    if equals and any(k.lower() == key and v.lower().startswith(value) for k, v in labels.items()):
        return True
    return fnmatchcase(name, word) if "*" in word or "?" in word else word in name


def group_keys(labels: Sequence[dict[str, str]]) -> list[str]:
    """Label keys that incidents could be grouped by, the most frequent first."""
    return [key for key, _ in Counter(key for each in labels for key in each).most_common(12)]
