"""One series through the detector's own code: history → fit → artefact → bank, then slot by slot through the judge.

Nothing here scores or opens incidents: `train`, `StudentBank`, `Entry` and `Judge` are those of the workers, and the
test part reaches them as the changes that the streamer would have announced.

Shapes: K slots of the test part, S slots of a series, N slots of a change, C channels
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from detector.incidents import wording
from detector.incidents.machine import Transition
from detector.incidents.record import StreamState
from detector.live.cache import SLACK, Entry, WindowChange
from detector.live.judge import Judge
from detector.live.judgement import Judgement
from detector.live.looking import band_of
from detector.model.artefact import Student
from detector.model.teacher import Teacher
from streamer.contracts import StreamSettings
from streamer.timestamps import NS
from streamer.windows.ring import StreamWindow
from trainer.backtest.live import CHECK_EVERY, GRID_VERSION, LiveTrainer, bank_for, blocks_of, ring_of
from trainer.backtest.profiles import ReplayBank, profile_of
from trainer.backtest.series import Series
from trainer.backtest.settings import BacktestSettings
from trainer.fit.histories import History
from trainer.fit.season_past import Past

# Slots announced at a time. Scores do not depend on it; it bounds the memory of one call.
SLOTS_A_CHANGE = 4096


@dataclass
class Alert:
    """An incident as a subscriber saw it last. Slots are rows of the test part."""

    opened: int  # the slot at which it was decided
    onset: int  # first surprising slot (may lie before the opening)
    end: int  # last surprising slot
    peak: float
    severity: str
    baseline: bool  # it ended as a new baseline: too long to be an anomaly
    reason: str

    def spans(self, first: int, last: int) -> bool:
        """Whether it overlaps slots first..last."""
        return self.onset <= last and self.end >= first


@dataclass
class Bands:
    """What was expected, for plots: (K, C), NaN where nothing was scored."""

    expected_KC: np.ndarray
    low_KC: np.ndarray
    high_KC: np.ndarray


@dataclass
class Replayed:
    """What the detector made of a test part."""

    surprise_K: np.ndarray  # what alerts, at decision time, NaN where nothing could be scored
    rank_K: np.ndarray  # without what alerts ahead of shapes, with the season, or its running mean: what ranks slots
    lag_K: np.ndarray  # slots from the centre of the window that fired to the deciding slot
    loudest_K: np.ndarray  # channel
    alerts: list[Alert]
    threshold: float
    history: int  # slots that were learnt from
    gate: str  # the result of the trainer's gate; of a live one, the newest
    student_bytes: int
    fit_s: float  # CPU seconds; of a live one, of all fits and updates
    score_s: float
    asks: bool = False  # the teacher carries weight in it
    asked: int = 0  # slots that the teacher saw
    fits: int = 1
    updates: int = 0  # of prototypes
    bands: Bands | None = None
    student: Student | None = None  # in force at the end


_NO_SETTINGS = StreamSettings()


@dataclass
class _Recorder:
    """Collects scores and events while the judge works."""

    first: int  # slot of the test part's first row
    trainer: LiveTrainer | None = None
    alerts: dict[int, Alert] = field(default_factory=dict)

    def publish(self, entry: Entry, stream_state: StreamState, transition: Transition) -> None:
        """One event, as it would be published."""
        stream_state.settle(transition)
        if transition.baseline and self.trainer is not None:
            self.trainer.shifted(entry, stream_state, transition)
        episode = transition.episode
        known = self.alerts.get(episode.anchor)
        self.alerts[episode.anchor] = Alert(
            opened=transition.slot - self.first if known is None else known.opened,
            onset=episode.onset - self.first,
            end=episode.last() - self.first,
            peak=round(episode.peak, 3),
            severity=episode.severity,
            baseline=transition.baseline,
            reason=wording.anomaly(entry.stream, transition, stream_state.interval_ns / NS, _NO_SETTINGS),
        )


def learnt(series: Series, history: int | None, share: float) -> slice:
    """Rows of the training part that are learnt from: its last `share`, of that the last `history` slots."""
    slots = max(1, round(series.train_end * share))
    if history is not None:
        slots = min(slots, history)
    return slice(series.train_end - slots, series.train_end)


def replay(
    series: Series,
    settings: BacktestSettings,
    teacher: Teacher | None = None,
    *,
    history: int | None = None,
    share: float = 1.0,
    live: bool = False,
    seed: int = 0,
    bands: bool = False,
) -> Replayed:
    """Fit on the training part, judge the test part.

    Args:
        history: at most so many slots are learnt from; None: the whole training part.
        share: last share (0 to 1] of the training part that is learnt from.
        live: the test part is learnt from, too, as a live stream's is whose ring holds `history` slots (which must be
            given): prototype updates, refits, only students that pass the gate. Else one fit, whatever its gate result.
        bands: keep what was expected of every channel.

    A series with fewer slots of data than `settings.min_slots` is not fitted, as in the trainer: the generic prior
    scores it, as it does a stream that has no student yet (nothing does with `settings.warming` off).
    """
    torch.manual_seed(seed)
    rows = learnt(series, history, share)
    begin = time.process_time()
    trainer, student, gate, size = None, None, "", 0
    profile = profile_of(settings)
    bank: ReplayBank
    if live:
        bank = students = bank_for(settings, teacher)
        trainer = LiveTrainer(series, rows.start, settings, teacher, students)
    else:
        first = learnt(series, None, share).start
        bank, gate, size, student = profile.fit(_history(series, rows, first), settings, teacher, seed)
    fit_s = time.process_time() - begin
    judge = Judge(bank, profile.rules(settings), {series.name: settings.of_stream()})
    entry = _entry(series, bank.context + SLACK, rows.start if live else 0, history if live else None)
    stream_state = StreamState(GRID_VERSION, entry.interval_ns, entry.phase_ns, entry.scored)
    count, channels = len(series.values_SC) - series.train_end, series.values_SC.shape[1]
    made = Replayed(
        np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32), np.zeros(count, np.int32), np.zeros(count, np.int32), [],
        judge.rules_for(entry, warming=False).threshold, rows.stop - rows.start, gate, size, fit_s, 0.0,
        bands=Bands(*(np.full((count, channels), np.nan, np.float32) for _ in range(3))) if bands else None,
        student=student,
    )  # fmt: skip
    recorder = _Recorder(series.first_slot + series.train_end, trainer)
    step = CHECK_EVERY if live else SLOTS_A_CHANGE
    if trainer is not None:
        trainer.work(entry, stream_state)
    for seq, at in enumerate(range(series.train_end, len(series.values_SC), step), 2):
        stop = min(at + step, len(series.values_SC))
        begin = time.process_time()
        entry.follow(_change(series, seq, at, stop, entry.interval_ns))
        judgement = judge.judgement(entry, stream_state)
        if judgement is not None:
            judge.run([judgement], recorder.publish)
        made.score_s += time.process_time() - begin
        if judgement is not None:
            _record(made, recorder, judgement)
        if trainer is not None:
            trainer.work(entry, stream_state)
    incident = stream_state.tracker.incident
    if incident is not None:  # still open: its newest revision may be some slots old
        recorder.alerts[incident.anchor].end = incident.last() - recorder.first
    if trainer is not None:
        made.gate, made.student_bytes, made.fit_s = trainer.reason, trainer.student_bytes, trainer.fit_s
        made.fits, made.updates, made.student = trainer.fits, trainer.updates, trainer.student
    made.asks, made.asked = bank.with_teacher() > 0, judge.teacher_windows
    made.alerts = [recorder.alerts[anchor] for anchor in sorted(recorder.alerts)]
    made.rank_K = profile.rank(made.rank_K)
    return made


def _history(series: Series, rows: slice, first: int) -> History:
    """Rows to be learnt from, and blocks of all from row `first` on."""
    values_SC, lo = series.values_SC[rows], series.first_slot + rows.start
    blocks = blocks_of(series, rows.stop, first)
    past = None if blocks is None else Past(values_SC, lo, series.interval_ns, series.phase_ns, blocks)
    return History(series.name, series.channels, values_SC, lo, GRID_VERSION, past=past)


def _entry(series: Series, keep: int, start: int, capacity: int | None) -> Entry:
    """The stream's window when the test part begins: rows from `start` on, judged up to there."""
    ring = ring_of(series, start, series.train_end, capacity or max(keep, len(series.values_SC)))
    header = replace(ring.header, lo=max(ring.header.lo, ring.header.hi - keep + 1))
    tail = StreamWindow(header, ring.values_SC[-keep:], ring.coarse)
    return Entry(series.name, tail, keep, ring.header.hi)


def _change(series: Series, seq: int, start: int, stop: int, interval_ns: int) -> WindowChange:
    """Rows start..stop of the series, as the streamer announces them."""
    values_NC = series.values_SC[start:stop]
    data = int(np.isfinite(values_NC).any(1).sum())
    first = series.first_slot + start
    return WindowChange(
        seq, GRID_VERSION, first, values_NC, interval_ns, series.phase_ns, (start, stop - 1), 0, 0, data
    )


def _record(made: Replayed, recorder: _Recorder, judgement: Judgement) -> None:
    for piece in judgement.pieces:
        score = piece.score
        if score is None or not score.views:
            continue
        at = np.asarray(piece.slots) - recorder.first
        # as in the judge: a slot without data is no evidence
        there_K = judgement.entry.present(piece.slots[0], piece.slots[-1])[:: piece.slots.step]
        made.surprise_K[at] = np.where(there_K, score.surprise_K, np.nan)
        made.rank_K[at] = np.where(there_K, score.rank_K, np.nan)
        loudest_K = np.nan_to_num(score.channel_KC, nan=-1.0).argmax(1)
        made.loudest_K[at] = loudest_K
        made.lag_K[at] = score.lag_K
        if made.bands is not None:
            made.bands.low_KC[at], made.bands.expected_KC[at], made.bands.high_KC[at] = band_of(score)
