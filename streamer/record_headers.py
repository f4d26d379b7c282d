"""What stands in the headers of records: of `metrics`, how a point is to be taken; of `dead-letters`, what was wrong."""

from collections.abc import Sequence

from pydantic import Field, field_validator

from streamer.contracts import Contract

HEADER_MODE = "mode"  # metrics: value `history` = learn from it, never alert on it
HEADER_REHOMED = "rehomed-from"  # metrics: "partition/offset" of a record that came with the wrong key


class DeadLetterHeaders(Contract):
    """`dead-letters`: record headers (UTF-8) beside the untouched value; the record's own follow as `header.NAME`.

    >>> DeadLetterHeaders(topic="metrics", partition="0", offset="17", timestamp="0", error="json",
    ...                   message="not JSON").error
    'json'
    """

    topic: str
    partition: str
    offset: str
    timestamp: str
    error: str = Field(description="short class: json, contract, timestamp, future, late, value, …")
    message: str = Field(description="what was wrong, where, what to do")

    @field_validator("message")
    @classmethod
    def _short(cls, value: str) -> str:
        return value[:2000]


def header_text(headers: Sequence[tuple[str, bytes]], name: str) -> str | None:
    """Text of a record's header, None when the record has none of this name.

    >>> header_text([("mode", b"history")], HEADER_MODE)
    'history'
    """
    for key, value in headers:
        if key == name:
            return value.decode(errors="replace")
    return None
