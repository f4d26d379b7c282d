"""Our events are CloudEvents: the official library reads them in both content modes, and we read what it writes."""

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, from_structured_event, to_binary_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from streamer.errors import ContractError
from streamer.sinks.cloudevents import read_event, to_binary
from tests.streamer.sinks.samples import event


def test_structured_mode() -> None:
    value = event(labels={"größe": "ü"}).model_dump_json().encode()
    headers = {"content-type": b"application/cloudevents+json"}
    read = from_structured_event(KafkaMessage(headers=headers, key=None, value=value))
    assert read.get_id() == "i-1:0"
    assert read.get_source() == "anomalyllm/al"
    assert read.get_data() == orjson.loads(value)["data"]
    JSONFormat().read(CloudEvent, value)


def test_binary_mode_of_ours_is_read_by_the_library() -> None:
    made = event(stream="größe")
    headers, value = to_binary(made)
    read = from_binary_event(KafkaMessage(headers=dict(headers), key=None, value=value))
    assert (read.get_id(), read.get_type(), read.get_subject()) == ("i-1:0", "anomalyllm.incident.open", "größe")
    assert read.get_specversion() == "1.0"
    assert read.get_datacontenttype() == "application/json"
    moment = read.get_time()
    assert moment is not None
    assert moment.isoformat() == "2026-01-31T12:00:01+00:00"
    assert read.get_data() == orjson.loads(made.data.model_dump_json())


def test_binary_mode_of_the_library_is_read_by_us() -> None:
    made = event()
    headers, value = to_binary(made)
    theirs = to_binary_event(from_binary_event(KafkaMessage(headers=dict(headers), key="web.cpu", value=value)))
    read = read_event(theirs.value, list(theirs.headers.items()))
    assert read.data == made.data
    assert (read.id, read.subject, read.source) == (made.id, made.subject, made.source)


def test_both_modes_are_read() -> None:
    made = event()
    assert read_event(made.model_dump_json().encode()) == made
    headers, value = to_binary(made)
    assert read_event(value, headers) == made


@pytest.mark.parametrize(
    ("value", "headers", "reason", "text"),
    [
        (None, [], "contract", "no value"),
        (b"", [], "contract", "no value"),
        (b"{", [], "json", "not JSON"),
        (b"[]", [], "contract", "not an incident"),
        (b'{"specversion": "1.0"}', [], "contract", "not an incident: id: Field required"),
        (b"\xff", [], "json", "not JSON"),
        (b"{}", [("ce_specversion", b"1.0"), ("ce_id", b"\xff")], "contract", "header is not UTF-8"),
        (b"{}", [("ce_specversion", b"0.3"), ("ce_id", b"a")], "contract", "not an incident"),
    ],
)
def test_what_is_none_says_so(value: bytes | None, headers: list[tuple[str, bytes]], reason: str, text: str) -> None:
    with pytest.raises(ContractError, match=text) as caught:
        read_event(value, headers)
    assert caught.value.reason == reason
