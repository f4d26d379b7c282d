"""docs/asyncapi.json: the topics as an AsyncAPI 3.0 document. `python -m streamer.asyncapi > docs/asyncapi.json`.

Written from the view of an application of a user (spec, "Operation Object"): it sends `metrics`, `streams`, `feedback` and
`training`, and receives the others. `windows` is between workers: its layout is streamer/windows/wire.py.
"""

import sys
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema

from streamer.contracts import COMPACTED, PARTITIONED, TOPICS, WindowsHeader
from streamer.record_headers import DeadLetterHeaders
from streamer.schemas import MODELS
from streamer.version import installed_version

SENT = ("metrics", "streams", "feedback", "training")
OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_REFERENCE = "#/components/schemas/{model}"
# The record key of each topic; None: not fixed.
KEYS: dict[str, str | None] = {
    "metrics": "name of the stream (another key, or none, costs a second way through Kafka)",
    "streams": "name of the stream",
    "windows": None,
    "anomalies": "name of the stream",
    "training": "name of the stream",
    "models": "name of the stream",
    "feedback": "name of the stream",
    "dead-letters": "the record's own key",
}
TEXTS = {
    "metrics": "Points, one or many a record.",
    "streams": "How a stream is to be read and judged; a record without a value deletes the stream everywhere.",
    "windows": "What has changed in windows: binary columns, between workers.",
    "anomalies": "Incidents as CloudEvents 1.0, structured mode, each revision with its whole reason.",
    "training": "Please fit this stream.",
    "models": "Which student judges a stream.",
    "feedback": "What a person says of an incident.",
    "dead-letters": "Records that break a rule, untouched; headers say where they came from, what was wrong and what to do.",
}
_BINDING = "0.5.0"


def document() -> dict[str, Any]:
    """The whole document."""
    wanted = [(model, "validation") for models in MODELS.values() for model in models]
    _, schemas = models_json_schema(wanted, ref_template=_REFERENCE)  # type: ignore[arg-type]
    messages = {name: message for topic in TOPICS for name, message in _messages(topic).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AnomalyLLM",
            "version": installed_version(),
            "description": "Anomaly detection on Kafka metrics: publish to a topic, subscribe to explained alerts. Topics may "
            "have a prefix (--topic-prefix).",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka", "description": "--bootstrap"}},
        "channels": {topic: _channel(topic) for topic in TOPICS},
        "operations": {_verb(topic): _operation(topic) for topic in TOPICS if topic != "windows"},
        "components": {"messages": messages, "schemas": dict(sorted(schemas["$defs"].items()))},
    }


def _verb(topic: str) -> str:
    name = topic.replace("-", " ").title().replace(" ", "")
    return f"{'send' if topic in SENT else 'receive'}{name}"


def _channel(topic: str) -> dict[str, Any]:
    policy = {"topicConfiguration": {"cleanup.policy": ["compact"]}} if topic in COMPACTED else {}
    count = {} if topic in PARTITIONED else {"partitions": 1}
    return {
        "address": topic,
        "description": TEXTS[topic],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(topic)},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": _BINDING, **count, **policy}},
    }


def _operation(topic: str) -> dict[str, Any]:
    return {
        "action": "send" if topic in SENT else "receive",
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": TEXTS[topic],
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in _messages(topic)],
    }


def _messages(topic: str) -> dict[str, dict[str, Any]]:
    return {model.__name__: _message(topic, model.__name__) for model in MODELS[topic]}


def _message(topic: str, name: str) -> dict[str, Any]:
    key = KEYS[topic]
    binding: dict[str, Any] = {"bindingVersion": _BINDING}
    if key is not None:
        binding["key"] = {"type": "string", "description": key}
    made: dict[str, Any] = {"name": name, "summary": TEXTS[topic], "bindings": {"kafka": binding}}
    reference = {"$ref": f"#/components/schemas/{name}"}
    if name == DeadLetterHeaders.__name__:
        return {**made, "contentType": "application/octet-stream", "headers": reference}
    if name == WindowsHeader.__name__:
        return {**made, "contentType": "application/octet-stream"}
    if topic == "metrics":
        made["headers"] = {
            "type": "object",
            "properties": {
                "mode": {"type": "string", "enum": ["history"], "description": "learn from it, never alert on it"}
            },
        }
    return {**made, "payload": reference}


def text() -> bytes:
    """The file."""
    return orjson.dumps(document(), option=OPTIONS)


if __name__ == "__main__":
    sys.stdout.buffer.write(text())
