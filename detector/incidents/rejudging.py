"""Slots that late data have changed, judged again: what an incident was said to be is corrected."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from detector.incidents.episode import Episode
from detector.incidents.machine import (
    DECADE,
    REMEMBERED,
    Rules,
    Tracker,
    Transition,
    belongs,
    newest_ended,
    revise,
    step,
)
from detector.incidents.recurring import loud_until, until
from detector.incidents.scored import Scored
from streamer.contracts import IncidentState

# Late points that move an incident's ends by less than this share of it change nothing that a person would want to know.
MOVED = 0.1


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
        # Until it is quiet it has not ended, and windows that still contain it are not listened to.
        reaches = max(episode.last() + rules.quiet_of(episode.column) * rules.stride, episode.contained)
        if episode is tracker.incident or reaches >= start:
            if episode.onset - back < lowest or episode.verdict is not None:
                if episode is tracker.incident:
                    return None
                return max(start, lowest, episode.last() + 1)
            start = min(start, episode.onset - back)
    return max(start, lowest)


def rejudge(
    tracker: Tracker, rules: Rules, scored: Iterable[Scored], note: Callable[[Episode, int], None]
) -> list[Transition]:
    """Judge slots again that were judged before (`rejudge_from` up to the last one), after late data.

    Returns transitions to be published in this order, each with a copy of its episode; `note` gives an episode the
    reason of a slot that belongs to it. `tracker` is brought to what it would be had the data come in time, except
    that incidents keep their identity: what changed is `revised`, what no longer holds `retracted`, what was missed
    opens now.
    """
    rows = list(scored)
    if not rows:
        return []
    start, slot = rows[0].slot, rows[-1].slot
    known = [e for e in [*tracker.recent, *([tracker.incident] if tracker.incident else [])] if e.onset >= start]
    if tracker.incident is not None:
        rules = replace(rules, threshold=tracker.incident.threshold)
    earlier = [at for at in tracker.openings if at < start]
    trial, seed = _as_of(tracker, rules, start, earlier)
    for row in rows:
        step(trial, rules, *row)
        mine = belongs(trial, row.slot)
        if mine is not None:
            note(mine, row.slot)
    found = [*trial.recent, *([trial.incident] if trial.incident else [])]
    published: list[Transition] = []
    result: list[Episode] = [e for e in tracker.recent if e.onset < start and e is not seed]
    for episode in [*([] if seed is None else [seed]), *known]:
        match = next((f for f in found if f.onset <= episode.last() and episode.onset <= f.last()), None)
        if match is not None:
            found.remove(match)
            change = _change(episode, match)
            for past in trial.usual:
                past.anchor = episode.anchor if past.anchor == match.anchor else past.anchor
            _adopt(episode, match)
        else:
            change = None if episode.retracted or episode.verdict else "retracted"
            episode.retracted = True
            if episode.ended is None:
                episode.ended = episode.hot
        if change:
            published.append(_copied(revise(episode, change, slot)))
        result.append(episode)
    for episode in found:
        episode.revision = 0
        published.append(Transition("open", replace(episode, ended=None), episode.anchor))
        if episode.ended is not None:
            published.append(_copied(revise(episode, "resolved", slot)))
        result.append(episode)
    tracker.recent = sorted((e for e in result if e.ended is not None), key=lambda e: (e.last(), e.anchor))
    tracker.incident = next((e for e in result if e.ended is None), None)
    tracker.hits, tracker.far, tracker.echo, tracker.ended = trial.hits, trial.far, trial.echo, trial.ended
    tracker.muted, tracker.calm, tracker.usual, tracker.loud = trial.muted, trial.calm, trial.usual, trial.loud
    again = sorted(e.anchor for e in result if e.onset >= start and not e.retracted)
    tracker.openings = [*earlier, *again][-REMEMBERED:]
    return published


def _as_of(tracker: Tracker, rules: Rules, start: int, openings: list[int]) -> tuple[Tracker, Episode | None]:
    """The machine as it was before a slot, and the incident that had ended last by then: it may go on."""
    seed = newest_ended(tracker, start)
    if seed is not None and seed.onset >= start:
        seed = None
    trial = Tracker(openings=openings, usual=until(tracker.usual, start), loud=loud_until(tracker.loud, start))
    if seed is not None:
        trial.recent, trial.ended = [replace(seed)], seed.last()
        trial.echo = seed.contained >= start - rules.stride
    elif tracker.ended < start:
        trial.ended = tracker.ended
    return trial, seed


def _change(old: Episode, new: Episode) -> IncidentState | None:
    if old.verdict is not None:
        return None
    if old.ended is None and new.ended is not None:
        return "resolved"
    far = max(1.0, MOVED * (old.last() - old.onset + 1))
    same = (
        not old.retracted
        and (old.ended is None) == (new.ended is None)
        and abs(old.onset - new.onset) <= far
        and (old.ended is None or abs(old.last() - new.last()) <= far)
        and abs(old.peak - new.peak) < DECADE
        and old.severity == new.severity
    )
    return None if same else "revised"


def _copied(transition: Transition) -> Transition:
    return transition._replace(episode=replace(transition.episode))


def _adopt(old: Episode, new: Episode) -> None:
    """Let `old` have what the new judgement found; identity, revision and a person's verdict stay."""
    if old.verdict is not None:
        return
    if (old.onset, old.hot, old.peak_slot, old.peak) != (new.onset, new.hot, new.peak_slot, new.peak):
        old.evidence = new.evidence
    old.onset, old.peak, old.peak_slot, old.hot = new.onset, new.peak, new.peak_slot, new.hot
    old.calm, old.unseen, old.ended, old.end_reason = new.calm, new.unseen, new.ended, new.end_reason
    old.stricter, old.column, old.around = new.stricter, new.column, new.around
    old.reach, old.grave, old.off, old.channel = new.reach, new.grave, new.off, new.channel
    old.contained, old.retracted = new.contained, False
