"""The trainer of a replay that goes on as a live stream does: what the stream asks for is done at once.

When to ask, what may be learnt from, what is promoted: all by the code of the workers. The stream's ring is the
series itself, up to the slot that was judged last. Only time is short: no request waits for another stream's.

Shapes: S slots of a series, C channels, X values slot by slot
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from detector.incidents.machine import Transition
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.model.artefact import SUFFIX, ArtefactStore, Student
from detector.model.banks import StudentBank
from detector.model.teacher import Teacher
from detector.model.teachers import Teachers
from detector.training.request import ask_after_shift, ask_if_due
from streamer.contracts import ModelRecord, ModelRef, TrainingRequest
from streamer.timestamps import format_ns
from streamer.windows.coarse import BLOCKS, CoarseHead, CoarseWindow, add, block_ns_of, read
from streamer.windows.header import StreamHeader
from streamer.windows.ring import StreamWindow
from trainer.announce import record_of
from trainer.backtest.series import Series
from trainer.backtest.settings import BacktestSettings
from trainer.fit.histories import History
from trainer.fit.plan import FitPlan
from trainer.fit.run import Trained
from trainer.jobs import TrainingJob, history_of, merge

# Slots between two checks of what the stream needs. A live detector checks every 32; a replay in such steps takes three
# times as long, and prototype updates come every 512.
CHECK_EVERY = 256
GRID_VERSION = 1


def ring_of(series: Series, start: int, stop: int, capacity: int) -> StreamWindow:
    """Rows start..stop of the series as a stream's ring holds them."""
    values_SC, channels = series.values_SC[start:stop], list(series.channels)
    lo, hi = series.first_slot + start, series.first_slot + stop - 1
    header = StreamHeader(
        state="grid", grid_version=GRID_VERSION, interval_ns=series.interval_ns, phase_ns=series.phase_ns,
        capacity=capacity, channels=channels, counters=[False] * len(channels), scale=list(series.scale),
        lo=lo, hi=hi, history_hi=hi, seq=1, points=int(np.isfinite(values_SC).sum()),
    )  # fmt: skip
    return StreamWindow(header, values_SC, blocks_of(series, stop))


def blocks_of(series: Series, stop: int, start: int = 0) -> CoarseWindow | None:
    """The coarse ring when slot `stop` − 1 of the series has arrived, however long ago slot `start` did."""
    block_ns = block_ns_of(series.interval_ns)
    if block_ns is None:
        return None
    head = CoarseHead.of_channels(block_ns, list(series.channels))
    first = max(start, stop - BLOCKS * block_ns // series.interval_ns)
    values_SC = series.values_SC[first:stop].astype(np.float64)
    slot_S = series.first_slot + np.arange(first, stop)
    block_S = (slot_S * series.interval_ns + series.phase_ns) // block_ns
    raw = bytearray()
    width = len(series.channels)
    channel_X = np.tile(np.arange(width), len(slot_S))
    for at, piece in add(head, block_ns / series.interval_ns, np.repeat(block_S, width), channel_X, values_SC.ravel()):
        raw.extend(bytes(max(0, at + len(piece) - len(raw))))
        raw[at : at + len(piece)] = piece
    return read(head, bytes(raw))


def bank_for(settings: BacktestSettings, teacher: Teacher | None) -> StudentBank:
    """An empty bank that asks this teacher, if there is one."""
    return StudentBank(Teachers(settings, teacher), teacher.device) if teacher is not None else StudentBank()


def through_store(trained: Trained, stream: str) -> tuple[ModelRef, Student, int]:
    """One student as a detector gets it, out of its artefact; and the artefact's bytes."""
    data = trained.data()
    with tempfile.TemporaryDirectory() as folder:
        store = ArtefactStore(folder, Path(folder) / "cache")
        uri, sha256 = store.write(trained.header.version + SUFFIX, data)
        ref = trained.refs(uri, sha256)[stream]
        [student] = store.read(uri, sha256, [ref.row], archives=True)
    return ref, student, len(data)


class LiveTrainer:
    """Fits, updates and refits the student of one series. `ask_if_due` takes it for the outlet of a worker's requests."""

    def __init__(
        self, series: Series, start: int, settings: BacktestSettings, teacher: Teacher | None, bank: StudentBank
    ) -> None:
        """`start`: first row of the series that may be learnt from."""
        self.fits = self.updates = self.student_bytes = 0
        self.reason = "not fitted: it has asked for nothing"  # of the newest student's gate
        self.fit_s = 0.0  # CPU seconds
        self.now_ms = 0
        self._series, self._start = series, start
        self._settings, self._teacher, self._bank = settings, teacher, bank
        self._record: ModelRecord | None = None
        self.student: Student | None = None  # in force
        self._requests: list[TrainingRequest] = []

    def request(self, request: TrainingRequest) -> None:
        """Note what the stream asks for, until `work`."""
        self._requests.append(request)

    def now(self) -> str:
        """RFC 3339 of the newest slot."""
        return format_ns(self.now_ms * 1_000_000)

    def shifted(self, entry: Entry, stream_state: StreamState, shift: Transition) -> None:
        """A new baseline: the stream asks for a student of it."""
        ask_after_shift(self, entry, stream_state, self._record, shift)

    def work(self, entry: Entry, stream_state: StreamState) -> None:
        """Do what is due or has been asked for, with what the stream's ring holds now."""
        self.now_ms = stream_state.slot_ns(entry.hi) // 1_000_000
        if entry.hi >= entry.consider_at:
            ask_if_due(self, self._settings, entry, stream_state, self._record)
        jobs = merge(self._requests)
        self._requests.clear()
        begin = time.process_time()
        for job in jobs.values():
            stop = entry.hi + 1 - self._series.first_slot
            window = ring_of(self._series, max(self._start, stop - entry.capacity), stop, entry.capacity)
            history = history_of(job, window, self._settings.min_slots, None, self.student)
            if isinstance(history, str):
                self.reason = f"not fitted: {history}"
            else:
                self._announce(self._made(job, history))
        self.fit_s += time.process_time() - begin

    def _made(self, job: TrainingJob, history: History) -> Trained:
        """As the trainer's run does it."""
        plan = FitPlan(self._teacher, self._settings)
        plan.add(history, job.job, self.student)
        if plan.fresh:
            self.updates += 1
            return plan.update(plan.fresh)
        self.fits += 1
        return plan.fit(plan.full)

    def _announce(self, trained: Trained) -> None:
        [result] = trained.results
        self.reason = result.reason
        ref, student, self.student_bytes = through_store(trained, self._series.name)
        self._record = record_of(self._series.name, ref, result, self._record)
        if result.passed:
            self.student = student
            self._bank.put([(ref, student)])
