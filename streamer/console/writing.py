"""What a person changes from a page: a verdict, a stream's dial, mute, a rollback. Each is one record on its topic."""

import time
from typing import Any, Literal

from aiokafka import AIOKafkaProducer
from pydantic import Field, ValidationError

from streamer.console.hub import Hub
from streamer.console.picture import Picture
from streamer.contracts import Contract, Feedback, ModelRecord, StreamName, StreamSettings, Verdict
from streamer.errors import ContractError
from streamer.kafka.sending import Outgoing, send
from streamer.overview.reading import OverviewReader
from streamer.settings import CommonSettings
from streamer.timestamps import format_ns


class SayVerdict(Contract):
    """What an incident was."""

    what: Literal["verdict"]
    stream: StreamName
    incident_id: str
    verdict: Verdict
    note: str | None = Field(None, max_length=2000)


class Mute(Contract):
    """Keep a stream's window, and do not alert, or alert again."""

    what: Literal["mute"]
    stream: StreamName
    muted: bool


class Dial(Contract):
    """How many false alerts a week are accepted; null: the default."""

    what: Literal["dial"]
    stream: StreamName
    alerts_per_week: float | None = Field(None, gt=0, le=1_000_000)


class RollBack(Contract):
    """Back to the model before."""

    what: Literal["rollback"]
    stream: StreamName


_KINDS: dict[str, type[SayVerdict | Mute | Dial | RollBack]] = {
    "verdict": SayVerdict,
    "mute": Mute,
    "dial": Dial,
    "rollback": RollBack,
}


class Writing:
    """Turns what a page asks for into records, and sends them."""

    def __init__(self, settings: CommonSettings, picture: Picture, reader: OverviewReader, hub: Hub) -> None:
        self._hub = hub
        self._settings = settings
        self._picture = picture
        self._reader = reader

    def record(self, body: Any) -> Outgoing:
        """The record that a wish means. Raises ContractError when it is none, or cannot be had."""
        kind = _KINDS.get(str(body.get("what"))) if isinstance(body, dict) else None
        if kind is None:
            raise ContractError("contract", f"`what` must be one of {', '.join(_KINDS)}")
        try:
            wish = kind.model_validate(body)
        except ValidationError as error:
            mistakes = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ContractError("contract", mistakes) from error
        topic, value = self._value(wish)
        return Outgoing(self._settings.topic(topic), value, wish.stream.encode())

    def _value(self, wish: SayVerdict | Mute | Dial | RollBack) -> tuple[str, bytes]:
        now = format_ns(time.time_ns())
        if isinstance(wish, SayVerdict):
            incident = self._picture.incidents.get(wish.incident_id)
            if incident is None or incident.stream != wish.stream:
                raise ContractError("unknown", f"{wish.stream} has no incident {wish.incident_id} of the last week")
            feedback = Feedback(
                incident_id=wish.incident_id, stream=wish.stream, verdict=wish.verdict, note=wish.note or None, at=now
            )
            return "feedback", feedback.model_dump_json(exclude_none=True).encode()
        known = self._reader.stream_settings.of
        if wish.stream not in self._picture.streams and wish.stream not in known:
            raise ContractError("unknown", f"there is no stream {wish.stream}")
        if isinstance(wish, RollBack):
            record = self._reader.models.of.get(wish.stream)
            back = record.rolled_back(now) if record is not None else None
            if back is None:
                raise ContractError("unknown", f"{wish.stream} has no previous model to return to")
            return "models", back.model_dump_json().encode()
        own = known.get(wish.stream, StreamSettings())
        if isinstance(wish, Mute):
            own = own.with_fields({"paused": wish.muted})
        elif wish.alerts_per_week is not None:
            own = own.with_fields({"alerts_per_week": wish.alerts_per_week})
        else:
            own = StreamSettings(**own.model_dump(exclude_unset=True, exclude={"alert_budget", "alerts_per_week"}))
        return "streams", own.model_dump_json(exclude_unset=True).encode()

    async def send(self, producer: AIOKafkaProducer, body: Any) -> None:
        """Send it; returns when Kafka has it. Raises ContractError, UnavailableError, RefusedError."""
        record = self.record(body)
        await send(self._settings, producer, [record])
        self._note(body["stream"], record)

    def _note(self, stream: str, record: Outgoing) -> None:
        """What is followed will tell it in a moment; a second change of the same stream must know of the first now."""
        if record.topic == self._settings.topic("streams"):
            made = StreamSettings.model_validate_json(record.value or b"{}")
            self._reader.stream_settings.of[stream] = made
            self._picture.put_settings(stream, made)
            self._hub.say("settings", {"stream": stream})
        elif record.topic == self._settings.topic("models"):
            self._reader.models.of[stream] = ModelRecord.model_validate_json(record.value or b"{}")
            self._hub.say("model", {"stream": stream})
