"""An incident in one sentence that a person understands at three in the morning.

>>> rarity(1.2e7), duration(2.1), number(97.3)
('about once in 5 months', '2.1 s', '97.3')
>>> numbers(1.77e9, 1.77e9 + 10)
['1770000000', '1770000010']
>>> silence("web.cpu", seconds=3.0, slots=30, back=False)
'web.cpu has sent nothing for 3 s (30 intervals)'
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detector.incidents.dial import WEEK_NS, closing, per_week_of
from detector.incidents.episode import NO_COLUMN, EndReason, Episode
from detector.incidents.machine import Transition
from detector.incidents.season_rule import OUTSIDE
from detector.persistence import NAMES, SAME
from streamer.contracts import StreamSettings
from streamer.timestamps import NS
from streamer.unjudged import UnjudgedReason, why_not

# A bound so small beside the value is written as 0: it is that of a stream that was always zero.
NEGLIGIBLE = 1e-6
DAY_S = 86_400.0
MAX_DECADES = 30.0  # more is no number any more
YEAR_S = 365 * DAY_S
OTHERS = 0.1  # share of the surprise from which a further channel is counted
WARMING = "(warming: judged by a general rule, for the stream has no model of its own yet)"
# Why an incident is over, in words. Only the first says that all is well.
_ENDS = {
    "returned": "back to normal",
    "unseen": "not judged any more, for no data came since: whether it is over is not known",
    "unjudged": "not judged any more, for {why}: whether it is over is not known",
    "paused": "closed, for the stream is paused: whether it is over is not known",
    "verdict": "closed: a person called it a false alarm",
    "grid": "closed, for its interval or channels have changed: whether it is over is not known",
    "deleted": "closed, for the stream was deleted",
}


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
    """The same of several, with as many digits as it takes to tell different ones apart; no exponent up to 10^15."""
    for digits in (4, 6, 8, 10, 12):
        texts = [_plain(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(value) for value in values]


def _plain(value: float, digits: int) -> str:
    if value != 0 and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    if digits == 4 and abs(value) < 1e7:
        return number(value)
    text = f"{float(f'{value:.{digits}g}'):.{digits - 1}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def once_in_s(episode: Episode, interval_s: float, settings: StreamSettings) -> float:
    """Seconds in which the stream's normal data would do this once.

    Of students by the tail probability of a slot. Of the season by the dial: at its threshold it is as rare as that
    asks for, and each decade above it ten times rarer.
    """
    if episode.column == NO_COLUMN:
        return interval_s * math.pow(10.0, min(episode.peak, MAX_DECADES))
    week_s = WEEK_NS / NS / per_week_of(settings, round(interval_s * NS))
    return week_s * math.pow(10.0, min(episode.peak - episode.threshold, MAX_DECADES))


def rarity(seconds: float) -> str:
    """What comes once in so many seconds, in words that a person can picture.

    No history is long enough to say more than "rarer than once a year".
    """
    if seconds > YEAR_S:
        return "rarer than once a year"
    for unit, size in (("months", 30 * DAY_S), ("weeks", 7 * DAY_S), ("days", DAY_S)):
        if seconds >= 2 * size:
            return f"about once in {seconds / size:.0f} {unit}"
    return "about once a day" if seconds >= DAY_S / 2 else f"about once in {duration(seconds)}"


def end_reason(episode: Episode, settings: StreamSettings) -> str:
    """Why an incident has ended, as in the event."""
    if episode.end_reason in ("returned", "unseen"):
        return "paused" if settings.paused else episode.end_reason
    return episode.end_reason


def anomaly(stream: str, transition: Transition, interval_s: float, settings: StreamSettings) -> str:
    """What happened, how far off, for how long, and how rare; and by what it was judged when by no student."""
    episode = transition.episode
    happened = _happened(stream, episode, settings.unit_name)
    lasted = duration((episode.last() - episode.onset + 1) * interval_s)
    if transition.state == "retracted":
        return f"No incident after all, as late data show. Said before: {happened}"
    if transition.baseline:
        return f"New baseline? {happened}, and stayed so for {lasted}: no further alerts, a new fit was asked for"
    warming = bool(episode.evidence.get("warming"))
    if episode.ended is None:
        sentence = f"{happened}, for {lasted} so far"
    else:
        over = _ENDS.get(end_reason(episode, settings), _ENDS["returned"])
        over = over.format(why=evidence_why(episode))
        # The prior soon takes for normal what lasts, so it cannot know whether that is over.
        over = "no longer unusual" if warming and over == _ENDS["returned"] else over
        sentence = f"{happened}, for {lasted}; {over}"
    if warming:
        return f"{sentence} {WARMING}"
    often = rarity(once_in_s(episode, interval_s, settings))
    return f"{sentence}. On its normal data that {'is' if often.startswith('rarer') else 'happens'} {often}"


def evidence_why(episode: Episode) -> str:
    """Why an incident's stream cannot be judged any more."""
    return str(episode.evidence.get("unjudged", "its slots cannot be scored"))


def _happened(stream: str, episode: Episode, unit: str | None) -> str:
    """The event itself: how it began, where it was farthest outside, and what is usual then."""
    evidence = episode.evidence
    channels = evidence["channels"]
    first = evidence.get("extreme") or channels[0]
    name = stream if first["channel"] == "value" else f"{first['channel']} of {stream}"
    # The students say which channels share in it, unless the season alone has seen it.
    students = evidence.get("students")
    if students is None or students >= closing(episode.threshold + episode.stricter):
        others = sum(channel["channel"] != first["channel"] and channel["share"] >= OTHERS for channel in channels)
        if others:
            name += f" (and {others} more channel{'s' if others > 1 else ''})"
    value, low, high = first["value"], first["low"], first["high"]
    if value is None:
        return f"{name} behaved unusually, with its newest value missing"
    if low is None or high is None:
        return f"{name} behaved unusually at {_with(number(value), unit)}"
    known = evidence.get("season") or {}
    season = known if episode.column != NO_COLUMN else {}
    nothing = NEGLIGIBLE * max(abs(value), abs(low), abs(high))
    bounds = [bound if abs(bound) > nothing else 0.0 for bound in (low, high)]
    before = _begun(evidence.get("onset"), first)
    shown, lower, upper, *rest = numbers(value, *bounds, *([] if before is None else [before[1]]))
    band = lower if lower == upper else f"{lower}–{upper}"
    word = season.get("word") or "usual"
    word = word if word.startswith("is") else f"is {word}"
    usual = f"({_with(band, unit)} {word})"
    value_text = _with(shown, unit)
    if season.get("statistic") == "unchanged":
        return f"{name} has not changed from {value_text} for longer than ever before"
    if season.get("statistic") == "never seen":
        return f"{name} shows {value_text}, which it never did before"
    if season.get("statistic") == "stays":
        return f"{name} has stayed around {value_text} for longer than ever before"
    if season.get("statistic") == "to and fro":
        return f"{name} goes to and fro more often than ever before, now at {value_text}"
    if season.get("statistic") == "record":
        higher = season.get("sign", 0) > 0
        beyond = value > high if higher else value < low
        side = "higher" if higher else "lower"
        return f"{name} stayed {side} than it ever had, now at {value_text}{f' {usual}' * beyond}"
    if value > high or value < low:
        verb = "rose" if value > high else "fell"
        if before is None:
            return f"{name} {verb} to {value_text} {usual}"
        way = f"then to {value_text}" if before[0] == verb else f"then {verb} to {value_text}"
        return f"{name} {before[0]} to {_with(rest[0], unit)}, {way} {usual}"
    expected, sign = first.get("expected"), season.get("sign", 0)
    if season.get("statistic") == "slot" and expected is not None and sign * (value - expected) > 0:
        # Surprising at the very end of a band, as nothing is less than 0: what lies in the middle of it says more.
        middle = f"({_with(number(expected), unit)}, of {_with(band, unit)}, {word})"
        return f"{name} {'rose' if sign > 0 else 'fell'} to {value_text} {middle}"
    # A course that only students know may still lie to one side, as where a job is missing.
    slowly = _slowly(known if known.get("surprise", 0.0) >= OUTSIDE else season)
    return f"{name} {slowly} {value_text} {usual}"


def _begun(onset: Mapping[str, Any] | None, extreme: Mapping[str, Any]) -> tuple[str, float] | None:
    """How it began (rose or fell, and to what), where that was another thing than its extreme."""
    if onset is None or onset["channel"] != extreme["channel"] or None in (onset["value"], onset["low"], onset["high"]):
        return None
    value, low, high = onset["value"], onset["low"], onset["high"]
    if low <= value <= high or abs(value - extreme["value"]) <= high - low:
        return None
    return ("rose" if value > high else "fell"), float(value)


def _slowly(season: Mapping[str, Any]) -> str:
    """What an average shows that single values do not."""
    statistic, sign = season.get("statistic", "slot"), season.get("sign", 0)
    if not sign or statistic in ("slot", *NAMES[SAME:]):
        return "moved unusually around"
    span = statistic.removesuffix(" sum").removesuffix(" spread")
    if "spread" in statistic:
        return f"{'varied more' if sign > 0 else 'varied less'} than usual over {span}, around"
    return f"was {'above' if sign > 0 else 'below'} what is usual over {span} together, now at"


def _with(text: str, unit: str | None) -> str:
    return text if unit is None else f"{text}{unit}" if unit == "%" else f"{text} {unit}"


def unjudged(stream: str, why: UnjudgedReason, over: EndReason | None) -> str:
    """Sentence of a stream that is not judged, or of which that is over, and why (`returned`: it is judged again)."""
    if over is None:
        return f"{stream} is not judged: {why_not(why)}"
    return f"{stream} is judged again" if over == "returned" else f"{stream} was not judged; {_ENDS[over]}"


def silence(
    stream: str, seconds: float, slots: int, back: bool, channels: Sequence[str] = (), nulls: bool = False,
    deleted: bool = False,
) -> str:  # fmt: skip
    """A stream that stopped, or came back; or only these of its channels."""
    lasted = duration(seconds)
    if channels:
        more = f" (and {len(channels) - 1} more channel{'s' if len(channels) > 2 else ''})" if len(channels) > 1 else ""
        stream = f"{channels[0]} of {stream}{more}"
        if not back:
            return f"{stream} has sent nothing for {lasted} ({slots} intervals), while other channels go on"
    if deleted:
        return f"{stream} was deleted, after {lasted} without data"
    if nulls and not back:
        return f"{stream} has sent nothing but nulls for {lasted} ({slots} intervals)"
    if back:
        return f"{stream} sends again after {lasted} without data"
    return f"{stream} has sent nothing for {lasted} ({slots} intervals)"
