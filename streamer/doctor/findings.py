"""What a check has found."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from streamer.settings import CommonSettings

# ok: as it should be. note: to be known, nothing to be done. warn: it works, and will hurt. bad: it does not work.
Level = Literal["ok", "note", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and what to do about it (none where nothing is to be done)."""

    subject: str
    level: Level
    text: str
    cure: str | None = None


def ok(subject: str, text: str) -> Finding:
    """As it should be."""
    return Finding(subject, "ok", text)


def note(subject: str, text: str) -> Finding:
    """To be known."""
    return Finding(subject, "note", text)


def warn(subject: str, text: str, cure: str) -> Finding:
    """Works, and will hurt."""
    return Finding(subject, "warn", text, cure)


def bad(subject: str, text: str, cure: str) -> Finding:
    """Does not work."""
    return Finding(subject, "bad", text, cure)


Check = Callable[[CommonSettings], Awaitable[Sequence[Finding]]]
_provided: list[Check] = []


def provide(check: Check) -> None:
    """A room adds a check of what only it knows (its device, its teacher); called when it adds its verbs."""
    if check not in _provided:
        _provided.append(check)


def provided() -> list[Check]:
    """Checks of the rooms that are installed."""
    return list(_provided)
