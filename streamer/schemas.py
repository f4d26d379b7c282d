"""Writes docs/topics: the JSON Schema of every topic. `python -m streamer.schemas [FOLDER]`."""

import sys
from pathlib import Path

import orjson

from streamer.contracts import TOPICS, topic_schema

OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


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
