"""JSON payloads: one document, or one a line; and label values that are not text."""

from collections.abc import Iterator
from typing import Any

import orjson

from streamer.errors import ContractError
from streamer.sources.points import Cells, text


def json_documents(raw: bytes, cells: Cells) -> Iterator[tuple[str, Any]]:
    """(where, document) of each; `where` is empty for a payload that is one. Lines that are no JSON go to `cells.bad`.

    Raises:
        ContractError: reason `empty` or `json`, when nothing is JSON.
    """
    try:
        yield "", orjson.loads(raw)
        return
    except orjson.JSONDecodeError as error:
        lines = text(raw).split("\n")
        filled = [(number, line) for number, line in enumerate(lines, 1) if line and not line.isspace()]
        if len(filled) < 2:
            # a byte order mark is the one thing that may stand around a document
            if not lines[0].startswith("\ufeff") and raw.startswith(b"\xef\xbb\xbf"):
                yield from json_documents(raw[3:], cells)
                return
            raise ContractError(
                "json", f"not JSON: {error}. NaN and Infinity are not JSON: send null for a gap"
            ) from None
    whole = 0
    broken = []
    for number, line in filled:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            broken.append((number, str(error)))
            continue
        whole += 1
        yield f"line {number} ", document
    for number, why in broken:
        if not whole:
            raise ContractError("json", f"line {number}: not JSON: {why}")
        cells.bad(f"line {number}", "json", f"not JSON: {why}", "One document, or one a line; null for a gap")


def json_items(raw: bytes, cells: Cells, within: str = "") -> Iterator[tuple[str, Any]]:
    """(where, item) of documents that are an item, a list of them, or an object with a list of them under `within`.

    Raises:
        ContractError: as `json_documents`.
    """
    for where, document in json_documents(raw, cells):
        if within and isinstance(document, dict) and isinstance(document.get(within), list):
            where, document = f"{where}{within}", document[within]
        if isinstance(document, list):
            yield from ((f"{where}[{at}]", item) for at, item in enumerate(document))
        else:
            yield where or "the payload", document


def label_text(value: Any) -> str:
    """A label's value as text, the same for the same value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
