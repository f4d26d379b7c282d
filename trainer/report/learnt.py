"""What a student has learnt of its stream, in words: how long, what repeats, what it looks at, what it takes to alert.

Shapes: V shape views of a memory
"""

import math
from collections.abc import Sequence

from detector.incidents.wording import duration, number
from detector.model.artefact import Student
from detector.model.seasons import Seasons
from detector.model.views.season import SEASONS
from detector.model.views.season_modes import CHANGES
from streamer.timestamps import NS

MEANING = {
    "none": "the same at all times",
    "day": "by the time of day",
    "weekend": "by the time of day, workdays and weekends apart",
    "weekday": "by the time of day, each weekday apart",
}
MAX_CHANNELS = 4
MAX_SHAPES = 3
NO_STUDENT = "a general rule alone (warming): no student of this stream is in force"


def learnt_of(
    student: Student | None, interval_ns: int, threshold: float, gate: str, scale: Sequence[tuple[float, float]] = ()
) -> list[tuple[str, str]]:
    """Facts, name and value.

    Args:
        threshold: the surprise that opens an incident.
        gate: what the trainer's gate said last.
        scale: offset and unit of each channel, as its ring has them; none: 0 and 1.
    """
    interval_s = interval_ns / NS
    facts = [("interval", duration(interval_s))]
    if student is None:
        return [*facts, ("judged by", NO_STUDENT), ("gate", gate)]
    member, rows = student.member, student.rows
    first, last = member.trained_slots
    span = duration((last - first + 1) * interval_s)
    facts.append(("model", f"{student.version}, fitted on {member.points:,} slots of {span}"))
    for c, name in enumerate(member.channels[:MAX_CHANNELS]):
        of = "" if len(member.channels) == 1 else f" of {name}"
        offset, unit = scale[c] if scale else (0.0, 1.0)
        middle, width = offset + unit * float(rows["centre"][c]), unit * float(rows["scale"][c])
        level = f"around {number(middle)}, mostly within ± {number(width)}"
        period = float(rows["period"][c])
        again = f"; repeats every {duration(period * interval_s)}" if period >= 2 else ""
        facts += [
            (f"level{of}", level + again),
            (f"season{of}", season_of(student, c)),
            *((f"{what}{of}", text) for what, text in stays_of(student.seasons, c, offset, unit)),
            (f"views{of}", _views(student, c)),
        ]
    if len(member.channels) > MAX_CHANNELS:
        facts.append(("and", f"{len(member.channels) - MAX_CHANNELS} more channels"))
    stricter = float(student.stream["correction"])
    more = f"; alerts corrected by {stricter:.1f} decades for its own history" if stricter > 0.05 else ""
    facts.append(("threshold", f"surprise {threshold:.2f}: one slot in {10**threshold:,.0f} of normal data{more}"))
    excess, recall = member.metrics.get("excess"), member.metrics.get("recall")
    if excess is not None and recall is not None:
        gate = f"{gate}: {excess:.1f} x the promised false alarms on held-back data, {recall:.0%} of injected anomalies"
    return [*facts, ("gate", gate)]


def season_of(student: Student, channel: int) -> str:
    """What is usual of a channel at each time."""
    if channel not in student.seasons.at:
        return "none yet (it takes two days)"
    name = SEASONS[int(student.seasons.rows["season"][student.seasons.at.index(channel)])]
    return MEANING.get(name, name)


def stays_of(seasons: Seasons, channel: int, offset: float = 0.0, unit: float = 1.0) -> list[tuple[str, str]]:
    """Levels that a channel has stayed at for weeks, and the modes between which it goes; values are unit · v + offset.

    Name and value of each fact; none of a channel that has neither.
    """
    if channel not in seasons.at:
        return []
    row = {name: value[seasons.at.index(channel)] for name, value in seasons.rows.items()}
    facts = []
    levels = sorted(row["levels"][row["around"] > 0].tolist())
    if levels:
        facts.append(("levels", ", ".join(number(offset + unit * level) for level in levels)))
    if row["mode_changes"] > 0:
        ranges = [
            _range(offset + unit * low, offset + unit * high)
            for low, high in zip(row["mode_low"].tolist(), row["mode_high"].tolist(), strict=True)
            if not math.isnan(low)
        ]
        rare = [
            f"more than {duration(float(row['interval']) * slots)} {where}"
            for where, slots in zip(ranges, row["mode_stay"].tolist(), strict=False)
            if slots < math.inf
        ]
        if row["mode_changes"] < math.inf:
            rare.append(f"more than {math.floor(row['mode_changes'])} changes in {CHANGES} slots")
        facts.append(("modes", f"{' or '.join(ranges)}{'; unusual: ' * bool(rare)}{', '.join(rare)}"))
    return facts


def _range(low: float, high: float) -> str:
    if low == -math.inf:
        return f"below {number(high)}"
    return f"above {number(low)}" if high == math.inf else f"between {number(low)} and {number(high)}"


def _views(student: Student, channel: int) -> str:
    """Weights of the families of views, and the shapes that count most."""
    blend = float(student.rows["blend"][channel])
    parts = [f"{student.layout.views} plain and prototype views {1 - blend:.0%}", f"shape memory {blend:.0%}"]
    if blend > 0 and channel in student.memories.at:
        rows, at = student.memories.rows, student.memories.at.index(channel)
        weight_V = rows["shape.weight"][at]
        order = [v for v in weight_V.argsort(descending=True).tolist() if float(weight_V[v]) > 0][:MAX_SHAPES]
        widths = [f"{int(rows['shape.width'][at][v])} slots {float(weight_V[v] / weight_V.sum()):.0%}" for v in order]
        parts[-1] += f" (largest shares: {', '.join(widths)})" if widths else ""
    deep = student.rows.get("deep")
    if deep is not None:
        parts.append(f"the LLM's views {float(deep[channel].sum()):.2f} beside 1 of all others")
    return "; ".join(parts)
