"""What the detector stores of a stream in Redis beside its window: incidents, exclusions, the training it asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis.asyncio
import structlog

from detector.incidents.episode import Episode
from detector.incidents.identity import incident_id
from detector.incidents.machine import Tracker, Transition, newest_ended
from detector.incidents.recurring import Loud, Recurrence
from detector.incidents.severity import VERY_RARE
from streamer.contracts import TrainingReason
from streamer.unjudged import UnjudgedReason
from streamer.windows.keys import Keys
from streamer.windows.standing import OpenIncident, Standing
from streamer.windows.stored import stored_as

log = structlog.get_logger(__name__)

# Ranges kept for training requests, the newest ones; a ring of 8192 slots rarely holds more incidents.
MAX_EXCLUDED = 64
# Ended incidents whose place is kept for verdicts that come the next morning: 2 KB of JSON in a stream that has so many.
MAX_PAST = 64


# Names of before 2026-11-27.
_EARLIER = {"state": "tracker", "asked": "pending"}


@dataclass(slots=True)
class NoData:
    """An open no-data incident.

    >>> NoData(anchor=100, since_ms=1_790_000_000_000).channels
    []
    """

    anchor: int  # the slot after the stream's last one
    since_ms: int  # record time of the newest point before the silence
    revision: int = 0
    channels: list[str] = field(default_factory=list)  # those that have ended while others go on; none: all
    nulls: bool = False  # it sends, but only nulls


@dataclass(slots=True)
class Unjudged:
    """A stream that is not judged, as it was told.

    >>> Unjudged("irregular", anchor=100).revision
    0
    """

    why: UnjudgedReason
    anchor: int  # its newest slot at that moment
    revision: int = 0


@dataclass(slots=True)
class PendingRequest:
    """The newest training request of a stream.

    >>> PendingRequest(at_ms=1_790_000_000_000, slot=256, reason="cold", job="full", announced=None).tries
    1
    """

    at_ms: int
    slot: int  # newest slot at that moment
    reason: TrainingReason
    job: str
    announced: str | None  # `announced_at` of the model record then known: a newer one is the answer
    tries: int = 1
    full_slot: int = -1  # newest slot at the newest request for a full fit


@dataclass(slots=True)
class StreamState:
    """What is stored of one stream, valid for one grid version.

    >>> state = StreamState(grid_version=1, interval_ns=10**9, phase_ns=0, scored=99)
    >>> StreamState.from_json(state.to_json()) == state
    True
    >>> state.exclude_range(10, 19)
    >>> state.exclude_range(20, 29)
    >>> state.exclude
    [(10, 29)]
    """

    grid_version: int
    interval_ns: int
    phase_ns: int
    scored: int  # newest slot judged (or passed over: history, or no student and `warming` switched off)
    tracker: Tracker = field(default_factory=Tracker)
    no_data: NoData | None = None
    model: str | None = None  # version in force …
    model_since: int = 0  # … from this slot
    exclude: list[tuple[int, int]] = field(default_factory=list)  # slots never to learn from, inclusive
    pending: PendingRequest | None = None
    warming: bool = False  # no student is in force: the generic prior judges, from `model_since` on
    # anchor of settled incidents, first and last slot of what is left out for them
    past: list[tuple[int, int, int]] = field(default_factory=list)
    unjudged: Unjudged | None = None  # told, and not yet judged again
    standing: Standing = field(default_factory=Standing)  # what there is to see of it

    @property
    def judged(self) -> bool:
        """Whether `scored` says what was judged: until then slots were only passed over."""
        return self.model is not None or self.warming

    def slot_ns(self, slot: int) -> int:
        """The slot's centre in ns since 1970."""
        return slot * self.interval_ns + self.phase_ns

    def to_json(self) -> bytes:
        """As stored."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes) -> "StreamState":
        """A stored state, also one of an earlier or later version. Raises KeyError, TypeError, ValueError: it is none."""
        body: dict[str, Any] = {_EARLIER.get(name, name): value for name, value in orjson.loads(raw).items()}
        tracker = body["tracker"]
        tracker["incident"] = stored_as(Episode, tracker["incident"]) if tracker["incident"] else None
        tracker["recent"] = [stored_as(Episode, episode) for episode in tracker["recent"]]
        tracker["usual"] = [stored_as(Recurrence, past) for past in tracker.get("usual", ())]
        tracker["loud"] = [stored_as(Loud, past) for past in tracker.get("loud", ())]
        body["tracker"] = stored_as(Tracker, tracker)
        body["no_data"] = stored_as(NoData, body["no_data"]) if body["no_data"] else None
        body["unjudged"] = stored_as(Unjudged, body["unjudged"]) if body.get("unjudged") else None
        body["pending"] = stored_as(PendingRequest, body["pending"]) if body["pending"] else None
        body["exclude"] = [(first, last) for first, last in body["exclude"]]
        body["standing"] = Standing.of(body.get("standing"))
        body["past"] = [(anchor, first, last) for anchor, first, last in body.get("past", ())]
        return stored_as(cls, body)

    def stand(self, stream: str) -> None:
        """Bring what is open in `standing` up to date."""
        found = []
        episode = self.tracker.incident
        if episode is not None and episode.announced_from is not None:
            made = incident_id(stream, self.grid_version, episode.anchor)
            since_ms = self.slot_ns(episode.onset) // 1_000_000
            peak = round(episode.peak, 2)
            found.append(
                OpenIncident(
                    made, "anomaly", episode.severity, since_ms, peak, episode.revision - episode.announced_from
                )
            )
        silence = self.no_data
        if silence is not None:
            made = incident_id(stream, self.grid_version, silence.anchor, "no_data")
            since_ms = self.slot_ns(silence.anchor) // 1_000_000
            found.append(OpenIncident(made, "no_data", "warning", since_ms, 0.0, silence.revision))
        self.standing.open = found

    def settle(self, transition: Transition) -> None:
        """After a transition: an ended incident that was critical, or that a person has confirmed, is never learnt from.

        A new baseline is learnt from, and so are all other incidents: what a stream does again and again is its habit,
        and a student that never saw it finds it more surprising each time (docs/decisions/015).
        """
        episode = transition.episode
        if transition.state == "retracted" or transition.baseline:  # parts of it may have been left out before
            self.allow_range(*episode.around_it())
        if episode.ended is None or episode.retracted or transition.baseline or episode.verdict == "false_alarm":
            return
        rare = episode.peak - episode.threshold >= VERY_RARE
        if episode.around or rare or episode.severity == "critical" or episode.verdict is not None:
            self.exclude_range(*episode.around_it())

    def forget_before(self, slot: int, newest: int | None = None) -> None:
        """Keep only the place of ended incidents that lie before `slot`: no late point reaches them any more.

        The newest one is kept until it has ended before `newest`: what comes may be more of it.
        """
        gone = [(episode.anchor, *episode.around_it()) for episode in forget_before(self.tracker, slot, newest)]
        self.past = [*self.past, *gone][-MAX_PAST:]

    def exclude_range(self, first: int, last: int) -> None:
        """Never learn from these slots; overlapping and neighbouring ranges become one."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self.exclude, (first, last)]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.exclude = merged[-MAX_EXCLUDED:]

    def allow_range(self, first: int, last: int) -> None:
        """Learn from these slots after all."""
        parts = [
            part for low, high in self.exclude for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
        ]
        self.exclude = [(low, high) for low, high in parts if low <= high]

    def heed(self, stream: str, wanted: str, confirmed: bool) -> None:
        """Tell what repeats the incident with this id, too, where a person has confirmed it."""
        for past in self.tracker.usual:
            if incident_id(stream, self.grid_version, past.anchor) == wanted:
                past.confirmed = confirmed

    def same(self, episode: Episode) -> Episode:
        """The state's own object of an episode that may be a copy."""
        return next((own for own in self._episodes() if own.anchor == episode.anchor), episode)

    def find(self, stream: str, wanted: str) -> Episode | None:
        """The open or recent incident with this id."""
        made = (e for e in self._episodes() if incident_id(stream, self.grid_version, e.anchor) == wanted)
        return next(made, None)

    def _episodes(self) -> list[Episode]:
        incident = self.tracker.incident
        return [*self.tracker.recent, *([incident] if incident else [])]

    def span(self, stream: str, wanted: str) -> tuple[int, int] | None:
        """First and last slot of what the incident with this id covers, as long as it is remembered.

        With what is left out on both sides of it, where the season has seen it.
        """
        episode = self.find(stream, wanted)
        if episode is not None:
            return episode.around_it()
        spans = {incident_id(stream, self.grid_version, anchor): (first, last) for anchor, first, last in self.past}
        return spans.get(wanted)


def forget_before(tracker: Tracker, slot: int, newest: int | None = None) -> list[Episode]:
    """Drop ended incidents that no late point can reach any more, and return them.

    The newest one is dropped when it ended before `newest`: until then what comes may be more of it.
    """
    last = newest_ended(tracker)

    def kept(episode: Episode) -> bool:
        return episode.last() >= (slot if episode is not last or newest is None else min(slot, newest))

    gone = [episode for episode in tracker.recent if not kept(episode)]
    tracker.recent = [episode for episode in tracker.recent if kept(episode)]
    return gone


async def read_states(
    client: redis.asyncio.Redis, keys: Keys, shards: Mapping[str, int], streams: Iterable[str]
) -> dict[str, StreamState]:
    """States of the streams that have one, in one round trip. `shards` maps a stream to its shard.

    One that cannot be read is told, and begun anew: a single stream must not end its owner again and again.
    """
    names = list(streams)
    if not names:
        return {}
    pipe = client.pipeline(transaction=False)
    for stream in names:
        pipe.get(keys.stream_state(shards[stream], stream))
    rows = await pipe.execute()
    found = {}
    for stream, raw in zip(names, rows, strict=True):
        if raw is not None:
            try:
                found[stream] = StreamState.from_json(raw)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                log.warning(
                    "the stored state of a stream cannot be read, and is begun anew: what was open of it is not resolved; "
                    f"see `anomalyllm alerts --state open --since 1d --stream '{stream}'`",
                    stream=stream,
                    error=f"{type(error).__name__}: {error}",
                )
    return found
