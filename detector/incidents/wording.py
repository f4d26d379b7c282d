"""An incident in one sentence that a person understands at three in the morning.

>>> rarity(5.3, 60), duration(2.1), number(97.3)
('about once in 5 months', '2.1 s', '97.3')
>>> numbers(1.77e9, 1.77e9 + 10)
['1770000000', '1770000010']
>>> silence("web.cpu", seconds=3.0, slots=30, back=False)
'web.cpu has sent nothing for 3 s (30 intervals)'
"""

from collections.abc import Mapping
from typing import Any

from detector.incidents.machine import Transition

# A bound so small beside the value is written as 0: it is that of a stream that was always zero.
NEGLIGIBLE = 1e-4
DAY_S = 86_400.0


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


def numbers(*values: float) -> list[str]:
    """The same of several, with as many digits as it takes to tell different ones apart."""
    for digits in (4, 6, 8, 10, 12):
        texts = [f"{value:.{digits}g}" for value in values]
        plain = [f"{float(text):.{max(0, digits - 1)}f}".rstrip("0").rstrip(".") for text in texts]
        shown = [p if 1e-4 <= abs(v) < 1e15 or v == 0 else t for p, t, v in zip(plain, texts, values, strict=True)]
        shown = [number(v) if digits == 4 and len(number(v)) < 9 else t for v, t in zip(values, shown, strict=True)]
        if len(set(shown)) == len(set(values)):
            return ["0" if text in ("-0", "") else text for text in shown]
    return [repr(value) for value in values]


def rarity(surprise: float, interval_s: float) -> str:
    """How often the stream's normal data would do this, in words that a person can picture."""
    seconds = interval_s * 10.0 ** min(surprise, 30.0)
    for unit, size in (("years", 365 * DAY_S), ("months", 30 * DAY_S), ("weeks", 7 * DAY_S), ("days", DAY_S)):
        if seconds >= 2 * size:
            return (
                "rarer than once in ten years"
                if seconds >= 3650 * DAY_S
                else f"about once in {seconds / size:.0f} {unit}"
            )
    return "about once a day" if seconds >= DAY_S / 2 else f"about once in {duration(seconds)}"


def anomaly(stream: str, transition: Transition, interval_s: float) -> str:
    """What happened, how far off, for how long, and how rare; and by what it was judged when by no student."""
    sentence = _sentence(stream, transition, interval_s)
    return f"{sentence} {WARMING}" if transition.episode.evidence.get("warming") else sentence


def _sentence(stream: str, transition: Transition, interval_s: float) -> str:
    episode = transition.episode
    evidence = episode.evidence
    happened = _happened(stream, evidence)
    lasted = duration((episode.last() - episode.onset + 1) * interval_s)
    why = f"On its normal data that happens {rarity(episode.peak, interval_s)}"
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
    return f"{happened}, for {lasted} so far. {why}"


def _happened(stream: str, evidence: Mapping[str, Any]) -> str:
    """The event itself: where it was farthest outside, and what is usual then."""
    channels = evidence["channels"]
    first = evidence.get("extreme") or channels[0]
    name = stream if first["channel"] == "value" else f"{first['channel']} of {stream}"
    others = sum(channel["channel"] != first["channel"] and channel["share"] >= 0.1 for channel in channels)
    if others:
        name += f" (and {others} more channel{'s' if others > 1 else ''})"
    value, low, high = first["value"], first["low"], first["high"]
    season = evidence.get("season") or {}
    word = season.get("word") or "usual"
    if value is None:
        return f"{name} behaved unusually, with its newest value missing"
    if low is None or high is None:
        return f"{name} behaved unusually at {number(value)}"
    nothing = NEGLIGIBLE * max(abs(value), abs(low), abs(high))
    bounds = [bound if abs(bound) > nothing else 0.0 for bound in (low, high)]
    shown, lower, upper = numbers(value, *bounds)
    usual = (
        f"{lower if lower == upper else f'{lower}–{upper}'} {'is' if word.startswith('usual') else ''} {word}".replace(
            "  ", " "
        )
    )
    statistic, sign = season.get("statistic", ""), season.get("sign", 0)
    if statistic == "unchanged":
        return f"{name} has not changed from {shown} for longer than ever before"
    if statistic == "never seen":
        return f"{name} shows {shown}, which it never did before"
    if value > high:
        return f"{name} rose to {shown} ({usual})"
    if value < low:
        return f"{name} fell to {shown} ({usual})"
    if sign and first is not channels[0]:
        side = "above" if sign > 0 else "below"
        expected = number(first["expected"]) if first["expected"] is not None else usual
        return f"{name} stays {side} what is usual, at {shown} where {expected} is expected ({statistic})"
    return f"{name} moved unusually around {shown} ({usual})"


def silence(stream: str, seconds: float, slots: int, back: bool) -> str:
    """A stream that stopped, or came back."""
    lasted = duration(seconds)
    if back:
        return f"{stream} sends again after {lasted} without data"
    return f"{stream} has sent nothing for {lasted} ({slots} intervals)"
