"""One micro-batch: which slots are to be judged, and their scores by as few calls of the bank as its limit allows.

What the scores mean for incidents is decided in `stepping`. Shapes: K slots of one stream, C channels, S slots of a segment.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import structlog

from detector.incidents.dial import (
    budget_of,
    finer_of,
    nearly,
    per_week_of,
    season_near_of,
    season_opens_of,
    threshold_of,
)
from detector.incidents.machine import Rules
from detector.incidents.record import StreamState
from detector.incidents.rejudging import rejudge_from
from detector.incidents.season_rule import season_rule
from detector.live.blocks import BEHIND
from detector.live.cache import SLACK, UNSCORED, Entry
from detector.live.judgement import Judgement, Piece
from detector.live.scaled import in_data_unit
from detector.live.settings import WorkerSettings
from detector.live.stepping import Emit, step_through
from detector.model.interface import Bank, Segment, SegmentScore
from streamer.contracts import StreamSettings
from streamer.unjudged import UnjudgedReason
from streamer.windows.coarse import block_ns_of

log = structlog.get_logger(__name__)

# A backlog is scored in pieces, so that one stream's thousands of slots do not make a tensor of their own size.
PIECE = BEHIND
BATCH_SLOTS = 4096  # scored in one call, at most: a tenth of a second of a core that scores 42 000 a second
MAX_RULES = 10_000
BRIDGED = 3  # slots that a gap may have: as many as the bank fills with the last value
_NO_SETTINGS = StreamSettings()


class Judge:
    """Scores what is new in entries and moves their incidents on.

    >>> from dataclasses import replace
    >>> from detector.model.interface import ViewName, unscored
    >>> from streamer.windows.header import StreamHeader
    >>> from streamer.windows.ring import StreamWindow
    >>> class Values:  # a bank to which the value itself is the surprise
    ...     context = 1
    ...     def context_of(self, stream, cold=False):
    ...         return 1
    ...     def model_of(self, stream):
    ...         return None
    ...     def score(self, segments):
    ...         return [replace(unscored(s.stream, s.count, 1), views=[ViewName("level", 0, 1)],
    ...                         surprise_K=s.values_SC[:, 0], channel_KC=s.values_SC) for s in segments]
    >>> header = StreamHeader("grid", 1, 10**9, 0, 64, ["value"], lo=0, hi=3, seq=1)
    >>> values_SC = np.array([[0.1], [0.2], [5.5], [6.5]], np.float32)
    >>> entry = Entry("web.cpu", StreamWindow(header, values_SC), keep=16, scored=1)
    >>> state = StreamState(grid_version=1, interval_ns=10**9, phase_ns=0, scored=1)
    >>> judge = Judge(Values(), WorkerSettings(), {"web.cpu": StreamSettings(alert_budget=1.0)})
    >>> judgement = judge.judgement(entry, state)
    >>> judgement.start, judgement.rules.threshold
    (2, 4.0)
    >>> judge.run([judgement], lambda entry, state, transition: print(entry.stream, transition.state, transition.slot))
    web.cpu open 3
    """

    def __init__(self, bank: Bank, settings: WorkerSettings, of_stream: Mapping[str, StreamSettings]) -> None:
        self._bank = bank
        self._settings = settings
        self._of_stream = of_stream
        self.unjudged: dict[str, str] = {}  # streams that cannot be scored → why; each is logged once
        self._rules: dict[tuple[float, float, float, int, int], Rules] = {}  # by threshold: most streams share one
        self.apart = 1  # how much farther apart scored slots are than asked for, under overload
        self.windows = 0  # slots scored so far
        self.teacher_windows = 0  # of which the LLM saw
        self.passed_over = 0  # incidents, since they come again at their time

    def settings_of(self, stream: str) -> StreamSettings:
        """The stream's settings, or the defaults."""
        return self._of_stream.get(stream, _NO_SETTINGS)

    def rules_of(
        self, settings: StreamSettings, interval_ns: int, warming: bool = False, slots: int | None = None
    ) -> Rules:
        """Incident rules of a stream with so many ns a slot, whose student has learnt from `slots`."""
        budget, per_week = budget_of(settings, interval_ns, warming, slots), per_week_of(settings, interval_ns)
        finer = finer_of(settings, interval_ns)
        key = (budget, per_week, finer, interval_ns, self.apart)
        rules = self._rules.get(key)
        if rules is None:
            if len(self._rules) >= MAX_RULES:  # intervals that were inferred differ by nanoseconds
                self._rules.clear()
            own, block_ns = self._settings, block_ns_of(interval_ns)
            quiet = min(own.quiet, max(5, round(300 * 10**9 / interval_ns)))
            rules = self._rules[key] = Rules(
                threshold=threshold_of(budget),
                open_hits=own.open_hits,
                open_window=own.open_window,
                quiet=quiet,
                max_slots=own.max_slots,
                stride=own.stride * self.apart,
                fatigue=own.fatigue,
                season=None if block_ns is None else season_rule(interval_ns, block_ns),
                season_opens=season_opens_of(per_week, interval_ns),
                season_near=season_near_of(per_week),
                finer=finer,
            )
        return rules

    def rules_for(self, entry: Entry, warming: bool) -> Rules:
        """Rules of a stream with its settings and its student, or with the generic prior where it is `warming`."""
        ref = self._bank.model_of(entry.stream)
        slots = None if warming or ref is None else ref.points
        return self.rules_of(self.settings_of(entry.stream), entry.interval_ns, warming, slots)

    def in_force(self, entry: Entry, stream_state: StreamState) -> bool:
        """Whether anything judges the stream: a student for its grid, or the generic prior.

        Notes a change from one to the other, or to another student, from the next slot on.
        """
        ref = self._bank.model_of(entry.stream)
        if ref is not None and ref.grid_version != entry.grid_version:
            ref = None
        if entry.state != "grid" or (ref is None and not self._settings.warming):
            stream_state.warming = False
            return False
        version, warming = (None, True) if ref is None else (ref.version, False)
        if (stream_state.model, stream_state.warming) != (version, warming):
            stream_state.model, stream_state.warming, stream_state.model_since = version, warming, entry.scored + 1
            if not warming:  # a student may know the new baseline; the prior does not
                stream_state.tracker.muted, stream_state.tracker.calm = None, 0
        return True

    def why_not(self, entry: Entry) -> str:
        """Why nothing judges a stream."""
        if entry.state != "grid":
            return "its time stamps follow no interval"
        return "it has no model for its grid, and no general rule judges (--no-warming)"

    def judgement(self, entry: Entry, stream_state: StreamState) -> Judgement | None:
        """What there is to do for a stream; None (and nothing is left to do) when nothing judges it."""
        if not self.in_force(entry, stream_state):
            first = max(entry.scored + 1, entry.base)
            if not entry.history and first <= entry.hi:
                entry.count_judged(0, int(entry.present(first, entry.hi).sum()))
            entry.scored, entry.late_from = max(entry.hi, entry.scored), None
            return None
        settings = self.settings_of(entry.stream)
        rules = self.rules_for(entry, stream_state.warming)
        context = self._bank.context_of(entry.stream, stream_state.warming)
        start = max(entry.scored + 1, entry.base)
        if entry.late_from is not None:
            stride = rules.stride
            # A young stream's context is whole from its first slot on: there is nothing before it.
            lowest = entry.base if stream_state.warming and entry.whole else entry.lowest(context)
            lowest = max(lowest, entry.history_hi + 1, stream_state.model_since)
            again = rejudge_from(stream_state.tracker, rules, -(-entry.late_from // stride) * stride, lowest)
            if again is not None and again <= entry.scored:
                start = min(start, again)
        return Judgement(entry, stream_state, rules, settings, start, context)

    def why_unjudged(self, entry: Entry) -> UnjudgedReason | None:
        """Why what comes of a stream is not judged, None when it is, or when that is not known yet."""
        if entry.state == "irregular":
            return "irregular"
        if entry.unscored < UNSCORED:
            return None
        if entry.stream in self.unjudged:
            return "failing"
        return "gaps" if self._judges(entry) else "no_model"

    def is_judged(self, entry: Entry) -> bool:
        """Whether all that came of a stream of late was judged."""
        return entry.state == "grid" and not entry.unscored and self._judges(entry)

    def _judges(self, entry: Entry) -> bool:
        ref = self._bank.model_of(entry.stream)
        return self._settings.warming or (ref is not None and ref.grid_version == entry.grid_version)

    def run(self, judgements: Sequence[Judgement], emit: Emit) -> None:
        """Judge all; `emit` is called once per transition, while its episode is as the event describes it."""
        segments: list[Segment] = []
        pieces: list[Piece] = []
        budget = BATCH_SLOTS
        for judgement in judgements:
            for piece, segment in self._segments(judgement):
                judgement.pieces.append(piece)
                pieces.append(piece)
                segments.append(segment)
                budget -= len(piece.slots)
                if budget <= 0:
                    self._score(segments, pieces)
                    segments, pieces, budget = [], [], BATCH_SLOTS
        self._score(segments, pieces)
        for judgement, top in zip(judgements, _tops(judgements), strict=True):
            judgement.failed = self.unjudged.get(judgement.entry.stream)
            entry, state = judgement.entry, judgement.stream_state.tracker
            entry.count_judged(*_judged(judgement))
            rules, timed = judgement.rules, max((p.score.season_top for p in judgement.pieces if p.score), default=0.0)
            surprising = (
                top >= rules.threshold
                or timed >= rules.season_opens
                or nearly(rules.threshold, rules.season_near, top, timed)
            )
            if surprising or not state.idle or judgement.start <= entry.scored:
                step_through(judgement, emit)
                self._note_passed_over(judgement)
                if state.recent:
                    hi = entry.hi
                    judgement.stream_state.forget_before(hi - SLACK - self._bank.context, hi - rules.reopened)
            entry.scored, entry.late_from = max(entry.hi, entry.scored), None
            _note_standing(judgement)

    def _note_passed_over(self, judgement: Judgement) -> None:
        entry, stream_state = judgement.entry, judgement.stream_state
        began = [past.at for past in stream_state.tracker.usual if past.until >= 0 and past.at > entry.scored]
        if began:
            self.passed_over += len(began)
            stream_state.standing.passed_over_ms = entry.slot_ns(began[-1]) // 1_000_000

    def _segments(self, judgement: Judgement) -> list[tuple[Piece, Segment]]:
        """Runs of slots to be scored. A slot without data is no evidence: a long hole is passed over."""
        entry, stride, context, cold = (
            judgement.entry,
            judgement.rules.stride,
            judgement.context,
            judgement.stream_state.warming,
        )
        first, last = judgement.start, entry.hi
        clock = entry.clock(judgement.settings.timezone)
        if first == last and stride == 1:  # by far the most frequent case
            segment = Segment(entry.stream, entry.segment(first, last, context), 1, last, cold, clock)
            return [(Piece(range(first, last + 1), scale=entry.scale), segment)]
        if last - first >= PIECE:
            present = np.flatnonzero(entry.present(first, last))
            if not len(present):
                return []
            first, last = first + int(present[0]), first + int(present[-1])
        made = []
        if stride > 1:
            slots = range(-(-first // stride) * stride, last + 1, stride)
            runs = [range(slot, slot + 1) for slot in slots]
        else:
            runs = [range(at, min(at + PIECE, last + 1)) for at in range(first, last + 1, PIECE)]
        for run in runs:
            rows_SC = entry.segment(run[0], run[-1], context)
            made.append((Piece(run, scale=entry.scale), Segment(entry.stream, rows_SC, len(run), run[-1], cold, clock)))
        return made

    def _score(self, segments: list[Segment], pieces: list[Piece]) -> None:
        if not segments:
            return
        try:
            scores: Sequence[SegmentScore | None] = self._bank.score(segments)
        except Exception:  # one stream that cannot be scored must not silence the others
            log.exception("scoring a batch failed, trying stream by stream", streams=len(segments))
            scores = [self._alone(segment) for segment in segments]
        for piece, score in zip(pieces, scores, strict=True):
            piece.score = None if score is None else in_data_unit(score, piece.scale)
            if score is not None:
                self.windows += len(piece.slots)
                self.teacher_windows += int(score.teacher_K.sum())
                if score.stream in self.unjudged:
                    del self.unjudged[score.stream]
                    log.info("stream can be scored again", stream=score.stream)

    def _alone(self, segment: Segment) -> SegmentScore | None:
        try:
            return self._bank.score([segment])[0]
        except Exception as error:
            if segment.stream not in self.unjudged:
                log.exception("stream cannot be scored; logged once", stream=segment.stream)
            self.unjudged[segment.stream] = f"scoring it fails ({type(error).__name__}: {error})"[:300]
            return None


def _judged(judgement: Judgement) -> tuple[int, int]:
    """How many of the new slots with data were judged, and how many were not: they have no score, or lie behind a gap that
    cannot be bridged, so that what they are compared with is missing."""
    entry, judged, unjudged = judgement.entry, 0, 0
    for piece in judgement.pieces:
        first, last = piece.slots[0], piece.slots[-1]
        if last <= entry.scored:
            continue
        score = piece.score
        if first == last and entry.last_data >= 0 and score is not None:  # by far the most frequent case
            if not entry.present(last, last)[0]:
                continue
            # of every stride-th slot alone, those between were not looked at
            before = max(last - BRIDGED - 1, entry.base)
            apart = last - entry.last_data > BRIDGED + 1 and not entry.present(before, last - 1).any()
            bad = apart or score.surprise_K[0] != score.surprise_K[0]
            judged, unjudged, entry.last_data = judged + (not bad), unjudged + bad, last
            continue
        slots = np.arange(max(first, entry.scored + 1), last + 1)
        at_K = slots[entry.present(int(slots[0]), last)]
        if not len(at_K):
            continue
        far_K = np.diff(at_K, prepend=entry.last_data if entry.last_data >= 0 else at_K[0]) > BRIDGED + 1
        if score is None:
            far_K[:] = True
        elif len(piece.slots) == last - first + 1:
            far_K |= np.isnan(score.surprise_K[at_K - first])
        unjudged += int(far_K.sum())
        judged += len(far_K) - int(far_K.sum())
        entry.last_data = int(at_K[-1])
    return judged, unjudged


def _tops(judgements: Sequence[Judgement]) -> list[float]:
    """Largest surprise of each judgement, 0 where nothing was scored."""
    scored = [
        [piece.score.surprise_K for piece in judgement.pieces if piece.score is not None] for judgement in judgements
    ]
    flat = [array for arrays in scored for array in arrays]
    if not flat:
        return [0.0] * len(judgements)
    lengths = np.array([sum(map(len, arrays)) for arrays in scored])
    ends = np.cumsum(lengths)
    values = np.concatenate([np.nan_to_num(np.concatenate(flat), nan=0.0), [0.0]])
    tops = np.maximum.reduceat(values, np.minimum(ends - lengths, len(values) - 1))
    tops[lengths == 0] = 0.0
    return [float(top) for top in tops]


def _note_standing(judgement: Judgement) -> None:
    """The newest scored slot, as others may see it."""
    score = judgement.pieces[-1].score if judgement.pieces else None
    if score is None or not len(score.surprise_K):
        return
    standing, newest = judgement.stream_state.standing, float(score.surprise_K[-1])
    if score.season_KS is not None:
        one = len(score.surprise_K) == 1  # by far the most frequent case
        season = score.season_top if one else float(score.season_KS[-1].max())
        newest = season if newest != newest or season > newest else newest
    standing.score = None if newest != newest else round(newest, 2)
    standing.season = score.season_word or None
