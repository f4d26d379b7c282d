"""How a stream stands: what the detector tells those who only look, inside the state that it stores anyway."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from streamer.contracts import IncidentKind, Severity
from streamer.windows.stored import stored_as


@dataclass(slots=True)
class OpenIncident:
    """An incident that is open."""

    incident_id: str
    kind: IncidentKind
    severity: Severity
    since_ms: int  # of its first slot, Unix milliseconds
    score: float  # its largest surprise; 0 of a silence
    revision: int = 0


@dataclass(slots=True)
class Standing:
    """What there is to see of a stream that is judged.

    >>> Standing.from_state(b'{"standing": {"score": 0.7, "season": "usual on a Monday", "open": []}}').score
    0.7
    """

    score: float | None = None  # surprise of its newest judged slot; None: that could not be scored
    season: str | None = None  # what its season is, in words; None: there is none yet
    open: list[OpenIncident] = field(default_factory=list)
    # when the newest began that was passed over, since it comes at its time of day or week (Unix milliseconds)
    passed_over_ms: int | None = None

    @classmethod
    def of(cls, body: dict[str, Any] | None) -> "Standing":
        """From JSON; without what another version kept."""
        body = body or {}
        return cls(
            body.get("score"), body.get("season"), [stored_as(OpenIncident, each) for each in body.get("open", ())],
            body.get("passed_over_ms"),
        )  # fmt: skip

    @classmethod
    def from_state(cls, raw: bytes) -> "Standing":
        """Out of a stored state of the detector (`Keys.stream_state`)."""
        return cls.of(orjson.loads(raw).get("standing"))
