"""Which models stand on which topic; writes docs/topics, their JSON Schema. `python -m streamer.schemas [FOLDER]`."""

import sys
from pathlib import Path
from typing import Any

import orjson

from streamer.contracts import (
    TOPICS,
    AnomalyEvent,
    Contract,
    Feedback,
    ModelRecord,
    StreamSettings,
    TrainingRequest,
    WindowsHeader,
)
from streamer.metric_records import MetricBatch, MetricPoint
from streamer.record_headers import DeadLetterHeaders

OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


MODELS: dict[str, tuple[type[Contract], ...]] = {
    "metrics": (MetricPoint, MetricBatch),
    "streams": (StreamSettings,),
    "windows": (WindowsHeader,),
    "anomalies": (AnomalyEvent,),
    "training": (TrainingRequest,),
    "models": (ModelRecord,),
    "feedback": (Feedback,),
    "dead-letters": (DeadLetterHeaders,),
}


def topic_schema(topic: str) -> dict[str, Any]:
    """JSON Schema of a topic's value (for `dead-letters` and `windows`: of its headers)."""
    models = MODELS[topic]
    schemas = [m.model_json_schema() for m in models]
    return schemas[0] if len(schemas) == 1 else {"title": topic, "oneOf": schemas}


def schema_files() -> dict[str, bytes]:
    """File name → content, one a topic."""
    return {f"{topic}.json": orjson.dumps(topic_schema(topic), option=OPTIONS) for topic in TOPICS}


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/topics")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in schema_files().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
