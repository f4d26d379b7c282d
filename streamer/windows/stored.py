"""What another version may have stored as JSON: fields that it did not have yet, or that are not known here any more."""

from typing import Any, TypeVar

T = TypeVar("T")


def stored_as(made: type[T], body: dict[str, Any]) -> T:
    """A dataclass out of its JSON; fields that it does not have are left out, those that are missing have their defaults.

    Raises TypeError where one without a default is missing.

    >>> from streamer.windows.standing import Standing
    >>> stored_as(Standing, {"score": 0.7, "of a later version": 1})
    Standing(score=0.7, season=None, open=[], passed_over_ms=None)
    """
    dataclass: Any = made
    known = dataclass.__dataclass_fields__.keys()  # what `fields` reads, without a list a header
    return made(**(body if body.keys() <= known else {name: value for name, value in body.items() if name in known}))
