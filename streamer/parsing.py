"""One way from the bytes of a record to its contract."""

from typing import TypeVar

import orjson
from pydantic import ValidationError

from streamer.contracts import Contract
from streamer.errors import ContractError

C = TypeVar("C", bound=Contract)


def parse(kind: type[C], raw: bytes | None, what: str) -> C:
    """A record's JSON value as its contract; `what` names it in the error.

    Raises:
        ContractError: reason `json` or `contract`; the message names every field that is wrong.

    >>> from streamer.contracts import StreamSettings
    >>> parse(StreamSettings, b'{"interval_s": 0.5}', "stream settings").interval_s
    0.5
    """
    try:
        return kind.model_validate(orjson.loads(raw or b""))
    except orjson.JSONDecodeError as error:
        raise ContractError("json", f"{what}: not JSON: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
        raise ContractError("contract", f"{what}: {wrong}") from None
