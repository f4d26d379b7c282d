"""The JSON of a record of `metrics`: from bytes to an object, and what to say of one that is not as it should be.

What people send in place of the contract's words is understood where only one thing can be meant (`NaN`, `time`), and
otherwise answered with the change that would mend it.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from streamer.contracts import MAX_STREAM_BYTES, TS_NAMES
from streamer.errors import ContractError

_BOM = b"\xef\xbb\xbf"
_EXAMPLE = '{"stream": "web.cpu", "ts": 1790000000, "value": 0.5}'
# What other tools call a stream, in the order in which a person would mean it
_LIKE_STREAM = ("series", "metric", "name", "id", "key", "sensor", "device")
_RESERVED = frozenset({"stream", "value", "values", "points", "channels", *TS_NAMES})
_SHOWN = 3


def parse_body(value: bytes | None) -> dict[str, Any]:
    """A record's value as a JSON object; `NaN`, which is no JSON, is read as null.

    Raises:
        ContractError: reason `empty`, `json` or `contract`.
    """
    if not value:
        raise ContractError("empty", "the record has no value; a point is a JSON object")
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        body = _second_try(value, error)
    if isinstance(body, dict):
        return body
    cure = "send one record each, or many points of one stream as `points`" if isinstance(body, list) else _EXAMPLE
    raise ContractError("contract", f"a point is a JSON object, got {type(body).__name__}: {cure}")


def _second_try(value: bytes, error: orjson.JSONDecodeError) -> Any:
    """What strict JSON does not allow and yet can only mean one thing: a byte order mark, and NaN for a gap."""
    raw = value.removeprefix(_BOM)
    if raw is not value or b"NaN" in raw or b"Infinity" in raw:
        try:
            # Infinity stays a text, which is refused where it stands and nowhere else; orjson knows what text is UTF-8.
            lenient = json.loads(raw, parse_constant=lambda name: None if name == "NaN" else name)
            return orjson.loads(orjson.dumps(lenient))
        except (ValueError, TypeError, RecursionError):
            pass  # the first error says where it breaks
    cure = ""
    if b"\n" in value.strip() and _is_object(value.strip().split(b"\n", 1)[0]):
        cure = ". Several objects in one record: send one record each, or many points of one stream as `points`"
    raise ContractError("json", f"not JSON: {error}{cure}")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def stream_of(body: Mapping[str, Any]) -> str:
    """The stream's name; raises ContractError with what the body has in its place."""
    stream = body.get("stream")
    if not isinstance(stream, str) or not stream:
        if "stream" in body:
            raise ContractError("contract", f"stream must be a non-empty text, got {str(stream)[:40]!r}")
        like = next((name for name in _LIKE_STREAM if isinstance(body.get(name), str)), None)
        cure = f"rename `{like}` to `stream`" if like else f"name the metric, as in {_EXAMPLE}"
        raise ContractError("contract", f"stream must be a non-empty text: {cure}")
    size = len(stream.encode(errors="replace"))
    if size > MAX_STREAM_BYTES:
        raise ContractError(
            "contract", f"stream {stream[:40]!r}… has {size} bytes, at most {MAX_STREAM_BYTES} are allowed: shorten it"
        )
    if any(c < " " or c == "\x7f" for c in stream):
        raise ContractError("contract", f"stream {stream[:40]!r} has control characters: leave them out")
    return stream


def stamp_of(body: Mapping[str, Any]) -> Any:
    """The time stamp as it was sent, None when there is none: `ts`, or what other tools call it."""
    for name in TS_NAMES:
        if body.get(name) is not None:
            return body[name]
    return None


def no_value(body: Mapping[str, Any]) -> ContractError:
    """The error of a body with none or several of value, values and points, and its cure."""
    given = [name for name in ("value", "values", "points") if name in body]
    if given:
        return ContractError("contract", f"give exactly one of value, values and points, not {' and '.join(given)}")
    numbers = [name for name, value in body.items() if name not in _RESERVED and type(value) in (int, float)]
    if not numbers:
        return ContractError("contract", f"give exactly one of value, values and points, as in {_EXAMPLE}")
    shown = ", ".join(f'"{name[:40]}": {body[name]}' for name in numbers[:_SHOWN])
    return ContractError(
        "contract", f'the numbers stand beside `stream`: put them into `values`, as in "values": {{{shown}}}'
    )
