"""What a format says of a stream (labels, counter or gauge) goes to the `streams` topic, once, and never over a user's word."""

from collections.abc import Iterable, Iterator, Mapping

from streamer.contracts import MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, StreamSettings
from streamer.sources.points import Kind, Series

_OURS = frozenset({"labels", "kind"})


class Announcer:
    """Finds the streams whose settings are to be written.

    A stream that has settings keeps them, unless they are this class's own and its kind has become known since
    (Prometheus tells types once a minute, apart from the series).

    Args:
        settings: of all streams, as followed from the `streams` topic; read, never changed.
    """

    def __init__(self, settings: Mapping[str, StreamSettings]) -> None:
        self._settings = settings
        self._families: dict[str, Kind] = {}
        self._on_its_way: dict[str, Kind] = {}  # written and not yet read back

    def learn(self, families: Mapping[str, Kind]) -> None:
        """Types of metric families."""
        self._families.update(families)

    def forget(self) -> None:
        """The broker is a new one, or what was said last may not have arrived."""
        self._on_its_way.clear()

    def new(self, series: Iterable[Series]) -> Iterator[tuple[str, StreamSettings]]:
        """(stream, settings to write) of those that need it."""
        for one in series:
            kind = self._families.get(one.name, one.kind)
            present = self._settings.get(one.stream)
            if present is None:
                wanted = bool(one.labels) or kind != "auto"
            elif present.kind == kind or kind == "auto":
                self._on_its_way.pop(one.stream, None)
                continue
            else:
                wanted = present.kind == "auto" and present.model_fields_set <= _OURS
            if wanted and self._on_its_way.get(one.stream) != kind:
                self._on_its_way[one.stream] = kind
                yield one.stream, _settings(one, kind)


def _settings(series: Series, kind: Kind) -> StreamSettings:
    given = {"labels": _fitting(series)} if series.labels else {}
    return StreamSettings.model_validate(given if kind == "auto" else {**given, "kind": kind})


def _fitting(series: Series) -> dict[str, str]:
    """Labels as settings may have them: the first ones, long ones cut. They name a stream's events, nothing more."""
    kept = list(dict(series.labels).items())[:MAX_LABELS]
    return {key[:MAX_LABEL_KEY]: value[:MAX_LABEL_VALUE] for key, value in kept}
