"""A judged stream's slots, one by one through the incident machine.

Shapes: K slots of one piece, S statistics of the season.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from detector.incidents.machine import Episode, Scored, Transition, step
from detector.incidents.record import StreamState
from detector.incidents.rejudging import rejudge
from detector.live.cache import Entry
from detector.live.evidence import counting, evidence_at, reach_of, season_counting
from detector.live.judgement import Judgement

Emit = Callable[[Entry, StreamState, Transition], None]
_NOTHING: tuple[float, bool, list[float] | None, float] = (float("nan"), False, None, 0.0)


def step_through(judgement: Judgement, emit: Emit) -> None:
    """First the slots that are judged again, then the new ones; `emit` is called once per transition."""
    entry, stream_state, rules = judgement.entry, judgement.stream_state, judgement.rules
    surprise_of = _surprises(judgement)

    def evidence(slot: int) -> dict[str, object]:
        found = judgement.find(slot)
        if found is None:
            return {}
        score, k = found
        return evidence_at(score, k, entry.channels, entry.row(slot), stream_state.model, entry.offsets)

    def row(slot: int) -> Scored:
        return Scored(slot, *surprise_of.get(slot, _NOTHING))

    stride = rules.stride
    if judgement.start <= entry.scored:
        first = -(-judgement.start // stride) * stride
        again = (row(slot) for slot in range(first, entry.scored + 1, stride))
        for published in rejudge(stream_state.tracker, rules, again, evidence):
            emit(entry, stream_state, published)
    first = -(-(entry.scored + 1) // stride) * stride
    begin = max(first, -(-entry.base // stride) * stride)
    # A hole longer than the window is quiet: its first slots are enough to end an incident.
    hole = range(first, min(begin, first + (rules.quiet + rules.open_window) * stride), stride)
    for slot in (*hole, *range(begin, entry.hi + 1, stride)):
        if stream_state.tracker.idle and slot not in surprise_of:
            continue
        transition = step(stream_state.tracker, rules, *row(slot))
        incident = stream_state.tracker.incident
        if incident is not None and (incident.peak_slot == slot or incident.hot == slot):
            _note(incident, slot, evidence(slot))
        if transition is not None:
            emit(entry, stream_state, transition)


def _note(incident: Episode, slot: int, found: dict[str, Any]) -> None:
    """The reason is that of the most surprising slot; what it was at the onset and at its farthest stays beside it."""
    kept: dict[str, Any] = {name: incident.evidence[name] for name in ("onset", "extreme") if name in incident.evidence}
    here = found.pop("here", None)
    if here is not None:
        kept.setdefault("onset", here)
        if "extreme" not in kept or here["reach"] > kept["extreme"]["reach"]:
            kept["extreme"] = here
    now = found if incident.peak_slot == slot or not incident.evidence else incident.evidence
    incident.evidence = {**now, **kept}


def _surprises(judgement: Judgement) -> dict[int, tuple[float, bool, list[float] | None, float]]:
    """Slot → (surprise, counts, season, reach) of all slots that were scored and have data."""
    found: dict[int, tuple[float, bool, list[float] | None, float]] = {}
    incident = judgement.stream_state.tracker.incident
    threshold = judgement.rules.threshold if incident is None else min(incident.threshold, judgement.rules.threshold)
    for piece in judgement.pieces:
        score = piece.score
        if score is None:
            continue
        surprise_K = score.surprise_K.astype(float)
        counts_K = counting(score, threshold, judgement.settings)
        present_K = judgement.entry.present(piece.slots[0], piece.slots[-1])
        surprise_K[~present_K] = np.nan
        season: list[list[float]] | list[None] = [None] * len(surprise_K)
        reach = [0.0] * len(surprise_K)
        if score.season_KS is not None and score.season_channel_K is not None:
            value_K = np.array(
                [judgement.entry.row(at)[c] for at, c in zip(piece.slots, score.season_channel_K.tolist(), strict=True)]
            )
            counts_too_K = present_K & season_counting(score, judgement.settings, value_K)
            season = np.where(counts_too_K[:, None], score.season_KS, 0.0).tolist()
            reach = np.round(reach_of(score, value_K), 3).tolist()
        rows = zip(surprise_K.tolist(), counts_K.tolist(), season, reach, strict=True)
        found |= zip(piece.slots, rows, strict=True)
    return found
