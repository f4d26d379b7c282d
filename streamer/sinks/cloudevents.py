"""`anomalies` as CloudEvents on Kafka: reading both content modes, and writing the binary one.

CloudEvents 1.0.2 and its Kafka protocol binding: in structured mode the value is the whole event; in binary mode the
attributes are record headers (`ce_id`, …; `datacontenttype` is `content-type`) and the value is the data.
"""

from collections.abc import Sequence

import orjson
from pydantic import ValidationError

from streamer.contracts import AnomalyEvent
from streamer.errors import ContractError

PREFIX = "ce_"
SPECVERSION = "ce_specversion"  # a record that has it is in binary mode
CONTENT_TYPE = "content-type"
Headers = Sequence[tuple[str, bytes]]


def to_binary(event: AnomalyEvent) -> tuple[list[tuple[str, bytes]], bytes]:
    """An event in binary mode: the record's headers and its value. The record's key stays the stream's name."""
    attributes = event.model_dump(mode="json", exclude={"data", "datacontenttype"})
    headers = [(PREFIX + name, str(value).encode()) for name, value in attributes.items()]
    return [*headers, (CONTENT_TYPE, event.datacontenttype.encode())], event.data.model_dump_json().encode()


def read_event(value: bytes | None, headers: Headers = ()) -> AnomalyEvent:
    """An event in either mode. Raises ContractError, reason `json` or `contract`."""
    if not value:
        raise ContractError("contract", "an incident's record has no value; send a CloudEvent")
    attributes = {name.lower(): raw for name, raw in headers}
    try:
        if SPECVERSION in attributes:
            event = {
                name.removeprefix(PREFIX): raw.decode()
                for name, raw in attributes.items()
                if name.startswith(PREFIX) and name.removeprefix(PREFIX) in AnomalyEvent.model_fields
            }
            return AnomalyEvent.model_validate({**event, "data": orjson.loads(value)})
        return AnomalyEvent.model_validate(orjson.loads(value))
    except orjson.JSONDecodeError as error:
        raise ContractError("json", f"not JSON: {error}; send a CloudEvent") from error
    except UnicodeDecodeError as error:
        raise ContractError("contract", f"a CloudEvents header is not UTF-8: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the event"
        raise ContractError(
            "contract", f"not an incident: {where}: {first['msg']}; see docs/topics/anomalies.json"
        ) from error
