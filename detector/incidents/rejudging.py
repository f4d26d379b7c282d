"""Slots that late data have changed, judged again: what an incident was said to be is corrected."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from detector.incidents.machine import DECADE, REMEMBERED, Episode, Rules, Scored, Tracker, Transition, revise, step
from streamer.contracts import IncidentState


def rejudge_from(tracker: Tracker, rules: Rules, first: int, lowest: int) -> int | None:
    """First slot to score again when `first` was overwritten, None when nothing can be judged again.

    It reaches back over every incident that the change may touch. `lowest` is the earliest slot whose windows are
    still at hand; an incident that began before it stands, and only what follows it is judged again.
    """
    if tracker.muted is not None:
        return None
    back = (rules.open_window - 1) * rules.stride
    start = first - back
    known = sorted([*tracker.recent, *([tracker.incident] if tracker.incident else [])], key=lambda e: -e.last())
    for episode in known:
        over = episode is tracker.incident or episode.last() >= start
        if over:
            if episode.onset - back < lowest or episode.verdict is not None:
                if episode is tracker.incident:
                    return None
                return max(start, episode.last() + 1)
            start = min(start, episode.onset - back)
    return max(start, lowest)


def rejudge(
    tracker: Tracker, rules: Rules, scored: Iterable[Scored], evidence: Callable[[int], dict[str, Any]]
) -> list[Transition]:
    """Judge slots again that were judged before (`rejudge_from` up to the last one), after late data.

    Returns transitions to be published in this order, each with a copy of its episode; `evidence` gives the reason of
    a slot. `tracker` is brought to what it would be had the data come in time, except that incidents keep their
    identity: what changed is `revised`, what no longer holds `retracted`, what was missed opens now.
    """
    rows = list(scored)
    if not rows:
        return []
    start, slot = rows[0].slot, rows[-1].slot
    known = [e for e in [*tracker.recent, *([tracker.incident] if tracker.incident else [])] if e.onset >= start]
    if tracker.incident is not None:
        rules = replace(rules, threshold=tracker.incident.threshold)
    earlier = [at for at in tracker.openings if at < start]
    trial = Tracker(openings=earlier)
    if tracker.ended < start:
        trial.ended, trial.column, trial.echo = tracker.ended, tracker.column, tracker.echo
    for row in rows:
        step(trial, rules, *row)
    found = [*trial.recent, *([trial.incident] if trial.incident else [])]
    published: list[Transition] = []
    result: list[Episode] = [e for e in tracker.recent if e.onset < start]
    for episode in known:
        match = next((f for f in found if f.onset <= episode.last() and episode.onset <= f.last()), None)
        if match is not None:
            found.remove(match)
            change = _change(episode, match)
            _adopt(episode, match, evidence)
        else:
            change = None if episode.retracted or episode.verdict else "retracted"
            episode.retracted = True
            if episode.ended is None:
                episode.ended = episode.hot
        if change:
            published.append(_copied(revise(episode, change, slot)))
        result.append(episode)
    for episode in found:
        episode.revision, episode.evidence = 0, evidence(episode.peak_slot)
        published.append(Transition("open", replace(episode, ended=None), episode.anchor))
        if episode.ended is not None:
            published.append(_copied(revise(episode, "resolved", slot)))
        result.append(episode)
    tracker.recent = [e for e in result if e.ended is not None]
    tracker.incident = next((e for e in result if e.ended is None), None)
    tracker.hits, tracker.far, tracker.echo = trial.hits, trial.far, trial.echo
    tracker.ended, tracker.column = trial.ended, trial.column
    again = sorted(e.anchor for e in result if e.onset >= start and not e.retracted)
    tracker.openings = [*earlier, *again][-REMEMBERED:]
    return published


def _change(old: Episode, new: Episode) -> IncidentState | None:
    if old.verdict is not None:
        return None
    if old.ended is None and new.ended is not None:
        return "resolved"
    same = (
        not old.retracted
        and old.ended == new.ended
        and old.onset == new.onset
        and old.peak_slot == new.peak_slot
        and abs(old.peak - new.peak) < 0.5 * DECADE
        and old.severity == new.severity
    )
    return None if same else "revised"


def _copied(transition: Transition) -> Transition:
    return transition._replace(episode=replace(transition.episode))


def _adopt(old: Episode, new: Episode, evidence: Callable[[int], dict[str, Any]]) -> None:
    """Let `old` have what the new judgement found; identity, revision and a person's verdict stay."""
    if old.verdict is not None:
        return
    if old.peak_slot != new.peak_slot or old.peak != new.peak:
        old.evidence = evidence(new.peak_slot)
    old.onset, old.peak, old.peak_slot, old.hot = new.onset, new.peak, new.peak_slot, new.hot
    old.length, old.revise_at, old.calm, old.ended = new.length, new.revise_at, new.calm, new.ended
    old.stricter, old.column, old.around, old.reach = new.stricter, new.column, new.around, new.reach
    old.retracted = False
