"""Who fell silent, by the times in the data: workers judge silence by when data arrive, which in a replay says nothing.

The rule is theirs: a stop of so many intervals is an incident, unless more than a few streams stop together.

Shapes: N instants of a stream
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from detector.incidents.events import Context, no_data_event
from detector.incidents.record import NoData, StreamState
from detector.incidents.silence import FEW, limit_s
from streamer.contracts import AnomalyEvent, StreamSettings
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader


@dataclass(frozen=True)
class Stop:
    """A stream that sent nothing for longer than it may."""

    last_ns: int
    back_ns: int | None  # None: it did not come back


def stops(
    instants: Mapping[str, np.ndarray], limits_ns: Mapping[str, int], begin_ns: int, end_ns: int
) -> Iterator[tuple[str, Stop]]:
    """Silences that become incidents in [begin, end); `instants` in order, of live streams and those before.

    >>> every = np.arange(0, 100)
    >>> list(stops({"a": np.array([0, 1, 2, 50]), "b": every}, {"a": 10, "b": 10}, 0, 100))
    [('a', Stop(last_ns=2, back_ns=50)), ('a', Stop(last_ns=50, back_ns=None))]
    """
    for stream, ns_N in instants.items():
        limit = limits_ns[stream]
        for last, back in _gaps(ns_N, limit, end_ns):
            if not begin_ns <= last + limit < end_ns:
                continue
            others = [other for name, other in instants.items() if name != stream and other[0] <= last]
            if len(others) < FEW or any(_has_data(other, last, last + limit) for other in others):
                yield stream, Stop(last, back)


def _gaps(ns_N: np.ndarray, limit: int, end_ns: int) -> Iterator[tuple[int, int | None]]:
    for at in np.flatnonzero(np.diff(ns_N) > limit).tolist():
        yield int(ns_N[at]), int(ns_N[at + 1])
    if len(ns_N) and end_ns - int(ns_N[-1]) > limit:
        yield int(ns_N[-1]), None


def _has_data(ns_N: np.ndarray, after_ns: int, until_ns: int) -> bool:
    first, last = np.searchsorted(ns_N, [after_ns, until_ns], side="right").tolist()
    return bool(last > first)


def silences(
    instants: Mapping[str, np.ndarray], headers: Mapping[str, StreamHeader], own: Mapping[str, StreamSettings],
    least_s: float, begin_ns: int, end_ns: int,
) -> list[AnomalyEvent]:  # fmt: skip
    """Incidents of silence, each as it was in the end. `headers`: of streams that are on a grid, the others are not judged."""
    judged = {name: ns_N for name, ns_N in instants.items() if name in headers and len(ns_N)}
    limits = {
        name: round(limit_s(headers[name].interval_ns, own.get(name, StreamSettings()), least_s) * NS)
        for name in judged
    }
    return [
        _event(stream, stop, headers[stream], own.get(stream, StreamSettings()), limits[stream])
        for stream, stop in stops(judged, limits, begin_ns, end_ns)
    ]


def _event(stream: str, stop: Stop, header: StreamHeader, own: StreamSettings, limit_ns: int) -> AnomalyEvent:
    state = StreamState(header.grid_version, header.interval_ns, header.phase_ns, header.slot_at(stop.last_ns))
    told = NoData(header.slot_at(stop.last_ns) + 1, stop.last_ns // 1_000_000)
    if stop.back_ns is not None:
        told.revision = 1
    ended_ns = stop.last_ns + limit_ns if stop.back_ns is None else stop.back_ns
    context = Context("anomalyllm/replay", 0, own, now_ns=ended_ns)
    return no_data_event(
        stream, state, told, "open" if stop.back_ns is None else "resolved", header.slot_at(ended_ns), context
    )
