"""An incident in one sentence that a person understands at three in the morning.

>>> rarity(5.3), duration(2.1), number(97.3)
('1 in 200 000 normal windows looks', '2.1 s', '97.3')
>>> silence("web.cpu", seconds=3.0, slots=30, back=False)
'web.cpu has sent nothing for 3 s (30 intervals)'
"""

from collections.abc import Mapping
from typing import Any

from detector.incidents.machine import Transition

# "1 in 200 000" is understood at once; beyond a billion a power of ten is easier to read than its zeros.
MAX_SPELT = 1e9
# A bound so small beside the value is written as 0: it is that of a stream that was always zero.
NEGLIGIBLE = 1e-4


# What a view compares, in a word; prototypes, shapes and the teacher all compare shapes.
_WORDS = {
    "mahalanobis": "pattern",
    "forecast": "forecast",
    "spread": "spread",
    "step": "step",
    "level": "level",
    "gap": "departure",
}
WARMING = "(warming: no student yet, judged by a generic prior)"


def number(value: float) -> str:
    """At most four significant digits, no exponent in the usual range."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        text = f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
        return "0" if text == "-0" else text
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """2.1 s, 3 min, 1.5 h, 2 days."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{number(round(seconds / size, 1))} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{number(round(seconds, 1))} s"


def rarity(surprise: float) -> str:
    """How many normal windows look like this: 1 in 200 000."""
    one_in = 10.0**surprise
    if one_in >= MAX_SPELT:
        return f"fewer than 1 in 10^{int(surprise)} normal windows look"
    digits = 10 ** (len(str(int(one_in))) - 1)
    return f"1 in {round(one_in / digits) * digits:,} normal windows looks".replace(",", " ")


def anomaly(stream: str, transition: Transition, interval_s: float) -> str:
    """What happened, how far off, for how long, and how rare; and by what it was judged when by no student."""
    sentence = _sentence(stream, transition, interval_s)
    return f"{sentence} {WARMING}" if transition.episode.evidence.get("warming") else sentence


def _sentence(stream: str, transition: Transition, interval_s: float) -> str:
    episode = transition.episode
    evidence = episode.evidence
    first = evidence["channels"][0]
    slots = episode.last() - episode.onset + 1
    happened = _happened(stream, first, evidence, len(evidence["channels"]))
    lasted = duration(slots * interval_s)
    why = f"{rarity(episode.peak)} like this ({_shape(evidence)})"
    if transition.state == "retracted":
        return f"No incident after all: late data changed what {stream} did; {happened} no longer holds"
    if transition.baseline:
        return f"New baseline? {happened}, and stayed so for {lasted}: no further alerts, a new fit was asked for"
    if transition.state == "resolved" and episode.verdict == "false_alarm":
        return f"{happened}, for {lasted}; closed: a person called it a false alarm"
    if transition.state == "resolved":
        # The prior soon takes for normal what lasts, so it cannot know whether that is over.
        over = "no longer unusual" if evidence.get("warming") else "back to normal"
        return f"{happened}, for {lasted}; {over}. {why}"
    return f"{happened}, for {lasted}; {why}"


def _happened(stream: str, first: Mapping[str, Any], evidence: Mapping[str, Any], channels: int) -> str:
    name = stream if first["channel"] == "value" else f"{first['channel']} of {stream}"
    others = sum(1 for channel in evidence["channels"][1:] if channel["share"] >= 0.1) if channels > 1 else 0
    if others:
        name += f" (and {others} more channel{'s' if others > 1 else ''})"
    value, low, high = first["value"], first["low"], first["high"]
    if value is None:
        return f"{name} behaved unusually, with its newest value missing"
    if low is None or high is None:
        return f"{name} behaved unusually at {number(value)}"
    nothing = NEGLIGIBLE * max(abs(value), abs(low), abs(high))
    lower, upper = (number(bound if abs(bound) > nothing else 0.0) for bound in (low, high))
    expected = lower if lower == upper else f"{lower}–{upper}"
    if value > high:
        return f"{name} rose to {number(value)} where {expected} was expected"
    if value < low:
        return f"{name} fell to {number(value)} where {expected} was expected"
    return f"{name} moved unusually around {number(value)} ({expected} is usual)"


def _shape(evidence: Mapping[str, Any]) -> str:
    parts = [f"{evidence['scale']}-slot {_WORDS.get(evidence['view'], 'shape')}"]
    if evidence["depth"]:
        parts.append(f"teacher depth {evidence['depth']}")
    if evidence["nearest"] is not None:
        parts.append(f"prototype {evidence['nearest']}")
    return ", ".join(parts)


def silence(stream: str, seconds: float, slots: int, back: bool) -> str:
    """A stream that stopped, or came back."""
    lasted = duration(seconds)
    if back:
        return f"{stream} sends again after {lasted} without data"
    return f"{stream} has sent nothing for {lasted} ({slots} intervals)"
