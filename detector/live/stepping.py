"""A judged stream's slots, one by one through the incident machine.

Shapes: K slots of one piece, S statistics of the season.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from detector.incidents.machine import Scored, Transition, rejudge, step
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.live.evidence import counting, evidence_at, season_counting
from detector.live.judgement import Judgement, Piece

Emit = Callable[[Entry, StreamState, Transition], None]
_NOTHING = (float("nan"), False, None)


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
        surprise, counts, season = surprise_of.get(slot, _NOTHING)
        return Scored(slot, surprise, counts, season)

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
        if incident is not None and incident.peak_slot == slot:
            incident.evidence = evidence(slot)
        if transition is not None:
            emit(entry, stream_state, transition)


def _surprises(judgement: Judgement) -> dict[int, tuple[float, bool, list[float] | None]]:
    """Slot → (surprise, counts, season) of all slots that were scored and have data."""
    found: dict[int, tuple[float, bool, list[float] | None]] = {}
    incident = judgement.stream_state.tracker.incident
    threshold = judgement.rules.threshold if incident is None else min(incident.threshold, judgement.rules.threshold)
    for piece in judgement.pieces:
        if piece.score is None:
            continue
        surprise_K = piece.score.surprise_K.astype(float)
        counts_K = counting(piece.score, threshold, judgement.settings)
        present_K = judgement.entry.present(piece.slots[0], piece.slots[-1])
        surprise_K[~present_K] = np.nan
        season: list[list[float]] | list[None] = [None] * len(surprise_K)
        if piece.score.season_KS is not None:
            counts_too_K = present_K & season_counting(
                piece.score, judgement.settings, partial(_values, judgement, piece)
            )
            season = np.where(counts_too_K[:, None], piece.score.season_KS, 0.0).tolist()
        found |= zip(piece.slots, zip(surprise_K.tolist(), counts_K.tolist(), season, strict=True), strict=True)
    return found


def _values(judgement: Judgement, piece: Piece) -> np.ndarray:
    """Values (K,) of the channels that the season means."""
    assert piece.score is not None
    assert piece.score.season_channel_K is not None
    rows = [judgement.entry.row(slot) for slot in piece.slots]
    return np.array([row[c] for row, c in zip(rows, piece.score.season_channel_K.tolist(), strict=True)], np.float32)
