"""One micro-batch: windows → bank → incidents, for all streams in as few calls of the bank as the limit allows.

Shapes: K slots of one stream, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog

from detector.incidents.machine import Rules, Scored, Transition, budget_of, rejudge, rejudge_from, step, threshold_of
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.live.evidence import counting, evidence_at
from detector.live.settings import WorkerSettings
from detector.model.scores import Segment, SegmentScore
from streamer.contracts import ModelRef, StreamSettings

log = structlog.get_logger(__name__)

# A backlog is scored in pieces, so that one stream's thousands of slots do not make a tensor of their own size.
PIECE = 256
_NO_SETTINGS = StreamSettings()
Emit = Callable[[Entry, StreamState, Transition], None]


class Bank(Protocol):
    """What is needed of `detector.model.bank.StudentBank`."""

    context: int  # of any stream, at most

    def context_of(self, stream: str, cold: bool = False) -> int:
        """Slots that the stream's scores depend on: with `cold` those of the generic prior."""
        ...

    def model_of(self, stream: str) -> ModelRef | None:
        """The student in force."""
        ...

    def score(self, segments: Sequence[Segment]) -> Sequence[SegmentScore]:
        """All segments in one call, in order."""
        ...


@dataclass(slots=True)
class _Piece:
    """Consecutive scored slots of one segment."""

    slots: range
    score: SegmentScore | None = None


@dataclass(slots=True)
class Judgement:
    """One stream to be judged: slots `start..hi`, of which those up to `entry.scored` for the second time."""

    entry: Entry
    stream_state: StreamState
    rules: Rules
    settings: StreamSettings
    start: int
    context: int  # slots that a score depends on
    pieces: list[_Piece] = field(default_factory=list)

    def find(self, slot: int) -> tuple[SegmentScore, int] | None:
        """Score and index of a slot, None where there is none."""
        for piece in self.pieces:
            if piece.score is not None and slot in piece.slots:
                return piece.score, piece.slots.index(slot)
        return None


class Judge:
    """Scores what is new in entries and moves their incidents on."""

    def __init__(self, bank: Bank, settings: WorkerSettings, of_stream: Mapping[str, StreamSettings]) -> None:
        self._bank = bank
        self._settings = settings
        self._of_stream = of_stream
        self._failing: set[str] = set()
        self._rules: dict[float, Rules] = {}  # by threshold: most streams share one
        self.windows = 0  # slots scored so far
        self.teacher_windows = 0  # of which the LLM saw

    def settings_of(self, stream: str) -> StreamSettings:
        """The stream's settings, or the defaults."""
        return self._of_stream.get(stream, _NO_SETTINGS)

    def rules_of(self, settings: StreamSettings, interval_ns: int) -> Rules:
        """Incident rules of a stream with so many ns a slot."""
        threshold = threshold_of(budget_of(settings, interval_ns))
        rules = self._rules.get(threshold)
        if rules is None:
            own = self._settings
            rules = self._rules[threshold] = Rules(
                threshold=threshold,
                open_hits=own.open_hits,
                open_window=own.open_window,
                quiet=own.quiet,
                update_every=own.update_every,
                max_slots=own.max_slots,
                stride=own.stride,
                fatigue=own.fatigue,
            )
        return rules

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
            if not warming:  # a student may know the new baseline, the prior is no reason to ask
                stream_state.tracker.muted, stream_state.tracker.calm = None, 0
        return True

    def judgement(self, entry: Entry, stream_state: StreamState) -> Judgement | None:
        """What there is to do for a stream; None (and nothing is left to do) when nothing judges it."""
        if not self.in_force(entry, stream_state):
            entry.scored, entry.late_from = max(entry.hi, entry.scored), None
            return None
        settings = self.settings_of(entry.stream)
        rules = self.rules_of(settings, entry.interval_ns)
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

    def run(self, judgements: Sequence[Judgement], emit: Emit) -> None:
        """Judge all jobs; `tell` is called once an event, while its episode is as the event says."""
        segments: list[Segment] = []
        pieces: list[_Piece] = []
        budget = self._settings.batch_windows
        for judgement in judgements:
            for piece, segment in self._segments(judgement):
                judgement.pieces.append(piece)
                pieces.append(piece)
                segments.append(segment)
                budget -= len(piece.slots)
                if budget <= 0:
                    self._score(segments, pieces)
                    segments, pieces, budget = [], [], self._settings.batch_windows
        self._score(segments, pieces)
        for judgement, top in zip(judgements, _tops(judgements), strict=True):
            entry, state = judgement.entry, judgement.stream_state.tracker
            if top >= judgement.rules.threshold or not state.idle or judgement.start <= entry.scored:
                self._walk(judgement, emit)
                if state.recent:
                    judgement.stream_state.forget_before(entry.hi - self._settings.slack - self._bank.context)
            entry.scored, entry.late_from = max(entry.hi, entry.scored), None

    def _segments(self, judgement: Judgement) -> list[tuple[_Piece, Segment]]:
        """Runs of slots to be scored. A slot without data is no evidence: a long hole is not even looked at."""
        entry, stride, context, cold = (
            judgement.entry,
            judgement.rules.stride,
            judgement.context,
            judgement.stream_state.warming,
        )
        first, last = judgement.start, entry.hi
        if first == last and stride == 1:  # by far the most frequent case
            segment = Segment(entry.stream, entry.segment(first, last, context), 1, last, cold)
            return [(_Piece(range(first, last + 1)), segment)]
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
            made.append((_Piece(run), Segment(entry.stream, rows_SC, len(run), run[-1], cold)))
        return made

    def _score(self, segments: list[Segment], pieces: list[_Piece]) -> None:
        if not segments:
            return
        try:
            scores: Sequence[SegmentScore | None] = self._bank.score(segments)
        except Exception:  # one stream's trouble must not silence the others
            log.exception("scoring a batch failed, trying stream by stream", streams=len(segments))
            scores = [self._alone(segment) for segment in segments]
        for piece, score in zip(pieces, scores, strict=True):
            piece.score = score
            if score is not None:
                self.windows += len(piece.slots)
                self.teacher_windows += int(score.teacher_K.sum())

    def _alone(self, segment: Segment) -> SegmentScore | None:
        try:
            return self._bank.score([segment])[0]
        except Exception:
            if segment.stream not in self._failing:
                self._failing.add(segment.stream)
                log.exception("stream cannot be scored; said once", stream=segment.stream)
            return None

    def _walk(self, judgement: Judgement, emit: Emit) -> None:
        """Slot by slot through the machine: first what is judged again, then what is new."""
        entry, stream_state, rules = judgement.entry, judgement.stream_state, judgement.rules
        surprise_of = self._surprises(judgement)

        def evidence(slot: int) -> dict[str, object]:
            found = judgement.find(slot)
            if found is None:
                return {}
            score, k = found
            return evidence_at(score, k, entry.channels, entry.row(slot), stream_state.model, entry.offsets)

        def row(slot: int) -> Scored:
            surprise, counts = surprise_of.get(slot, (float("nan"), False))
            return Scored(slot, surprise, counts)

        stride = rules.stride
        if judgement.start <= entry.scored:
            first = -(-judgement.start // stride) * stride
            again = (row(slot) for slot in range(first, entry.scored + 1, stride))
            for published in rejudge(stream_state.tracker, rules, again, evidence):
                emit(entry, stream_state, published)
        first = -(-(entry.scored + 1) // stride) * stride
        begin = max(first, -(-entry.base // stride) * stride)
        # Of a hole that is longer than the window the first slots say as much as all of them: it is quiet.
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

    def _surprises(self, judgement: Judgement) -> dict[int, tuple[float, bool]]:
        """Slot → (surprise, counts) of all slots that were scored and have data."""
        found: dict[int, tuple[float, bool]] = {}
        incident = judgement.stream_state.tracker.incident
        threshold = (
            judgement.rules.threshold if incident is None else min(incident.threshold, judgement.rules.threshold)
        )
        for piece in judgement.pieces:
            if piece.score is None:
                continue
            surprise_K = piece.score.surprise_K.astype(float)
            counts_K = counting(piece.score, threshold, judgement.settings)
            present_K = judgement.entry.present(piece.slots[0], piece.slots[-1])
            surprise_K[~present_K] = np.nan
            found |= zip(piece.slots, zip(surprise_K.tolist(), counts_K.tolist(), strict=True), strict=True)
        return found


def _tops(judgements: Sequence[Judgement]) -> list[float]:
    """Largest surprise a job, 0 where nothing was scored."""
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
