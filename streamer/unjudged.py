"""Why a stream is not judged, in words: for events, lists and logs.

>>> why_not("irregular")
'its points follow no interval: send them regularly, or set interval_s'
"""

from typing import Literal, get_args

UnjudgedReason = Literal["waiting", "irregular", "gaps", "no_model", "failing"]

_WORDS: dict[str, str] = {
    "waiting": "it waits for its interval, which is inferred from 33 different time stamps: send more, or set interval_s",
    "irregular": "its points follow no interval: send them regularly, or set interval_s",
    "gaps": "what comes has gaps longer than can be bridged: send every interval, or set interval_s to what it really is",
    "no_model": "it has no student yet, and the general rule for such streams is switched off (--no-warming)",
    "failing": "it cannot be scored: the detector's log has the error",
}
REASONS: tuple[UnjudgedReason, ...] = get_args(UnjudgedReason)


def why_not(reason: str) -> str:
    """The reason in words, with what to do."""
    return _WORDS.get(reason, reason)
