"""docs/asyncapi.json is of this code, is AsyncAPI 3, and its schemas are those of the topics."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson

from streamer.asyncapi import SENT, document, text
from streamer.contracts import TOPICS, StreamSettings
from streamer.metric_records import MetricBatch
from streamer.schemas import MODELS

with warnings.catch_warnings():  # of pydantic, about a name in that package
    warnings.simplefilter("ignore", UserWarning)
    from asyncapi3.models import AsyncAPI3

WRITTEN = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def references(node: Any) -> Iterator[str]:
    """All references in a document."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key == "$ref":
            yield value
        else:
            yield from references(value)


def resolved(made: dict[str, Any], reference: str) -> Any:
    """What a reference points at; KeyError where there is nothing."""
    assert reference.startswith("#/")
    node: Any = made
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def test_the_file_is_of_this_code() -> None:
    made = document()
    written = orjson.loads(WRITTEN.read_bytes())
    made["info"]["version"] = written["info"]["version"]  # of the release that wrote it
    assert written == orjson.loads(orjson.dumps(made)), "python -m streamer.asyncapi > docs/asyncapi.json"


def test_it_is_asyncapi_3_with_kafka_bindings() -> None:
    made = AsyncAPI3.model_validate_json(text())
    assert made.asyncapi == "3.0.0"
    assert made.channels is not None
    assert set(made.channels.root) == set(TOPICS)


def test_every_reference_leads_somewhere_and_every_topic_has_its_operation() -> None:
    made = document()
    found = list(references(made))
    assert len(found) > 30
    for reference in found:
        resolved(made, reference)
    actions = {op["channel"]["$ref"].rpartition("/")[2]: op["action"] for op in made["operations"].values()}
    assert actions == {topic: "send" if topic in SENT else "receive" for topic in TOPICS if topic != "windows"}
    assert set(made["components"]["messages"]) == {model.__name__ for models in MODELS.values() for model in models}


def test_its_schemas_take_what_the_contracts_take() -> None:
    made = document()

    def check(name: str, value: object) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": made["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    check("MetricBatch", MetricBatch(stream="s", points=[[1, 2.0]]).model_dump(mode="json"))
    check("StreamSettings", StreamSettings(alerts_per_week=1).model_dump(mode="json", exclude_unset=True))
    check("MetricPoint", {"stream": "s", "ts": 1.5, "values": {"a": 1, "b": None}})
