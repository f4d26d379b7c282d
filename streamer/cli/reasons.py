"""What the classes of dead letters mean, and what mends them, in general; a letter's own message says it of that record."""

from typing import NamedTuple

_FORMATS = ("telegraf", "influx", "otlp", "remote-write", "snappy", "adapter", "graphite")
_SEND = "publish it corrected, or `dead-letters resend --through COMMAND`"


class Reason(NamedTuple):
    """Of one class."""

    what: str
    cure: str


REASONS = {
    "json": Reason("The value is not JSON.", f"{_SEND}; a topic of another tool: `streamer --source TOPIC=FORMAT`."),
    "contract": Reason(
        "A field is missing, unknown, or of the wrong kind (docs/topics has the contracts).",
        f"{_SEND}; a topic of another tool: `streamer --source TOPIC=FORMAT`.",
    ),
    "empty": Reason("The record has no value.", "Nothing to send again: mend the publisher."),
    "timestamp": Reason("The time cannot be read, or lies outside 1970 to 2116.", f"{_SEND} (`unit` of a stream: its unit)."),
    "future": Reason(
        "The time lies further ahead of the record's own than --max-ahead-s: a clock or a unit is wrong.",
        "Mend the clock, or set the stream's `unit`, then resend.",
    ),
    "late": Reason(
        "The point is older than the stream's window, or than what a counter can take in.",
        "Resending does not help; publish it with header mode=history to learn from it, or raise the stream's capacity.",
    ),
    "value": Reason("Text, a boolean, or a number beyond float32 where a number belongs.", f"{_SEND}."),
    "refused": Reason(
        "The stream's settings or limits do not let it in (channels, number of them).",
        "`anomalyllm streams set`, then resend.",
    ),
    "misplaced": Reason(
        "Its partition is not its stream's, though a worker has moved it: workers disagree on partitions or partitioner.",
        "Give all workers the same --partitions and --partitioner, then resend.",
    ),
    "homeless": Reason(
        "It came to another partition than its stream's, and cannot be sent on to that.",
        "Publish it with its stream as key, in smaller batches where it is large.",
    ),
    "internal": Reason(
        "A worker has met what it cannot deal with: a fault of ours.", "Report it with the record; resend after the upgrade."
    ),
    "windows": Reason(
        "A message of `windows` that no streamer wrote.",
        "Nothing is lost of `metrics`: find out who else writes to `windows`.",
    ),
    "encoding": Reason("A name or text is not UTF-8.", f"{_SEND}."),
    "unsendable": Reason(
        "A message of the detector that the broker never takes (too large for its topic).",
        "Raise the topic's `max.message.bytes`; it cannot be resent.",
    ),
    "too_large": Reason("It is larger than the topic takes.", "Publish it in smaller batches, with the stream as key."),
}  # fmt: skip
_OTHER = Reason("See the letter's message.", "Do what the message says, then resend.")


def reason(error: str) -> Reason:
    """What a class means; of one that is not known, where to look."""
    if error in _FORMATS:
        return Reason(f"It does not read as {error}.", "Correct --source or the sender's output format, then resend.")
    return REASONS.get(error, _OTHER)
