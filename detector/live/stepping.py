"""A judged stream's slots, one by one through the incident machine.

Shapes: K slots of one piece, C channels, S statistics of the season.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from detector.incidents.episode import Episode
from detector.incidents.machine import WINDOW, Transition, belongs, step
from detector.incidents.record import StreamState
from detector.incidents.rejudging import rejudge
from detector.incidents.scored import Scored
from detector.incidents.season_rule import HOLDS
from detector.live.cache import Entry
from detector.live.evidence import Far, counting, evidence_at, far_at, here_of, season_counting, usual_levels
from detector.live.judgement import Judgement

Emit = Callable[[Entry, StreamState, Transition], None]


def step_through(judgement: Judgement, emit: Emit) -> None:
    """First the slots that are judged again, then the new ones; `emit` is called once per transition."""
    entry, stream_state, rules = judgement.entry, judgement.stream_state, judgement.rules
    scored_at = _scored(judgement)

    def note(episode: Episode, slot: int) -> None:
        found = judgement.find(slot)
        if found is not None:
            score, k = found
            here = here_of(score, k, slot, entry.channels, entry.row(slot))
            of_slot = evidence_at(score, k, entry.channels, entry.row(slot), stream_state.model, entry.offsets)
            _note(episode, slot, of_slot, here)

    def row(slot: int) -> Scored:
        return scored_at.get(slot) or Scored(slot, float("nan"), False)

    stride = rules.stride
    if judgement.start <= entry.scored:
        first = -(-judgement.start // stride) * stride
        again = (row(slot) for slot in range(first, entry.scored + 1, stride))
        for published in rejudge(stream_state.tracker, rules, again, note):
            emit(entry, stream_state, published)
    first = -(-(entry.scored + 1) // stride) * stride
    begin = max(first, -(-entry.base // stride) * stride)
    # A hole longer than the window is quiet: its first slots are enough to end an incident.
    quiet = max(rules.quiet, 0 if rules.season is None else rules.season.quiet)
    hole = range(first, min(begin, first + (quiet + rules.open_window) * stride), stride)
    for slot in (*hole, *range(begin, entry.hi + 1, stride)):
        if stream_state.tracker.idle and slot not in scored_at:
            continue
        transition = step(stream_state.tracker, rules, *row(slot))
        mine = belongs(stream_state.tracker, slot)
        if mine is not None:
            note(mine, slot)
        if transition is not None:
            if transition.episode.end_reason == "unseen" and entry.seen_at(slot):
                _unjudged(transition, judgement.failed or "too much is missing before its newest points")
            emit(entry, stream_state, transition)


def _unjudged(transition: Transition, why: str) -> None:
    """The incident has ended for its data cannot be scored."""
    transition.episode.end_reason = "unjudged"
    transition.episode.evidence = {**transition.episode.evidence, "unjudged": why}


def _note(episode: Episode, slot: int, found: dict[str, Any], here: dict[str, Any]) -> None:
    """The reason is that of the most surprising slot; what it was at the onset and at its farthest stays beside it."""
    kept: dict[str, Any] = {name: episode.evidence[name] for name in ("onset", "extreme") if name in episode.evidence}
    kept.setdefault("onset", here)
    if "extreme" not in kept or here["reach"] > kept["extreme"]["reach"]:
        kept["extreme"] = here
    now = found if episode.peak_slot == slot or not episode.evidence else episode.evidence
    episode.evidence = {**now, **kept}


def _scored(judgement: Judgement) -> dict[int, Scored]:
    """All slots that were scored and have data."""
    found: dict[int, Scored] = {}
    incident = judgement.stream_state.tracker.incident
    threshold = judgement.rules.threshold if incident is None else min(incident.threshold, judgement.rules.threshold)
    for piece in judgement.pieces:
        score = piece.score
        if score is None:
            continue
        rows_KC = np.array([judgement.entry.row(at) for at in piece.slots])
        present_K = judgement.entry.present(piece.slots[0], piece.slots[-1])
        surprise_K = np.where(present_K, score.surprise_K, np.nan).astype(float)
        counts_K = counting(score, threshold, judgement.settings)
        if score.levels is not None:
            for k in np.flatnonzero(counts_K).tolist():
                at = piece.slots[k]
                counts_K[k] = not usual_levels(score, k, judgement.entry.segment(at, at, WINDOW))
        season: list[list[float] | None] = [None] * len(surprise_K)
        loud_K = counts_K.copy()
        if score.season_KS is not None and score.season_channel_K is not None:
            value_K = rows_KC[np.arange(len(rows_KC)), score.season_channel_K]
            wanted_K = season_counting(score, judgement.settings, value_K)
            season_KS = np.where(wanted_K[:, None], score.season_KS, 0.0)
            season = [row if there else None for row, there in zip(season_KS.tolist(), present_K, strict=True)]
            loud_K |= season_KS.max(1) >= HOLDS
        far = [far_at(score, k, rows_KC[k]) if loud else Far() for k, loud in enumerate((loud_K & present_K).tolist())]
        rows = zip(piece.slots, surprise_K.tolist(), counts_K.tolist(), season, far, strict=True)
        found |= {
            slot: Scored(slot, surprise, counts, row, away.reach, away.off, score.untimed, away.grave)
            for slot, surprise, counts, row, away in rows
        }
    return found
