"""Jobs of a batch → stored artefacts and model records. What cannot be trained is kept apart from what can."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import redis.asyncio
import structlog

from detector.model.artefact import SUFFIX, ArtefactStore, Student
from detector.model.opening import store_name
from detector.model.store_errors import ArtefactError, StoreError
from detector.model.teacher import Teacher
from streamer.contracts import ModelRecord
from streamer.patience import patiently
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from trainer.announce import record_of
from trainer.fit.histories import History
from trainer.fit.plan import FitPlan
from trainer.fit.run import Trained
from trainer.jobs import TrainingJob, history_of
from trainer.memory import free_bytes, give_back, parts_of, too_large
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)


@dataclass
class Outcome:
    """What became of a batch's jobs."""

    records: dict[str, ModelRecord] = field(default_factory=dict)
    trained: int = 0  # full fits
    updated: int = 0  # prototype updates
    dropped: dict[str, str] = field(default_factory=dict)  # stream → why


@dataclass
class TrainingRun:
    """All that jobs need."""

    settings: TrainerSettings
    redis: redis.asyncio.Redis
    keys: Keys
    store: ArtefactStore
    teacher: Teacher | None
    deployment: str = ""  # whose artefacts these are, see `trainer.announce.orphans`
    zone_of: Callable[[str], str | None] = lambda _: None  # time zone of a stream's people

    async def work(self, jobs: Mapping[str, TrainingJob], known: Mapping[str, ModelRecord]) -> Outcome:
        """Do all jobs, part by part: one run for the full fits, one for the updates. Waits while Redis or the store are
        away. A history that would not fit into memory is not loaded, and its job dropped with the reason."""
        outcome = Outcome()
        headers = await patiently(
            redis_name(self.settings),
            lambda: read_headers(self.redis, self.keys, sorted(jobs), self.settings.partitioner),
            REDIS_ERRORS,
        )
        fitting, free = {}, free_bytes()
        for stream in sorted(jobs):
            header = headers.get(stream)
            why = "the stream has no window (yet)" if header is None else too_large(header, free)
            if header is None or why is not None:
                outcome.dropped[stream] = str(why)
            else:
                fitting[stream] = header
        for part in parts_of(fitting):
            await self._part({stream: jobs[stream] for stream in part}, known, outcome)
            await asyncio.to_thread(give_back)
        return outcome

    async def _part(self, jobs: Mapping[str, TrainingJob], known: Mapping[str, ModelRecord], outcome: Outcome) -> None:
        before = {stream: await self._before(known.get(stream)) for stream in jobs}
        histories = await self._histories(jobs, before, outcome)
        plan = FitPlan(self.teacher, self.settings)
        for history in histories:
            plan.add(history, jobs[history.stream].job, before[history.stream])
        outcome.trained += await self._run(plan.fit, plan.full, known, outcome)
        outcome.updated += await self._run(plan.update, plan.fresh, known, outcome)

    async def _histories(
        self, jobs: Mapping[str, TrainingJob], before: Mapping[str, Student | None], outcome: Outcome
    ) -> list[History]:
        names = sorted(jobs)
        windows = await patiently(
            redis_name(self.settings),
            lambda: read_windows(self.redis, self.keys, names, self.settings.partitioner),
            REDIS_ERRORS,
        )
        histories = []
        for stream in names:
            if stream not in windows:
                outcome.dropped[stream] = "the stream has no window (yet)"
                continue
            student = before[stream]
            history = history_of(jobs[stream], windows[stream], self.settings.min_slots, self.zone_of(stream), student)
            if isinstance(history, str):
                outcome.dropped[stream] = history
            else:
                histories.append(history)
        return histories

    async def _before(self, record: ModelRecord | None) -> Student | None:
        """The student in force; None where there is none that can be read."""
        ref = record.promoted if record is not None else None
        if ref is None:
            return None
        try:
            [student] = await patiently(
                store_name(self.store.uri),
                lambda: asyncio.to_thread(self.store.read, ref.uri, ref.sha256, [ref.row], archives=True),
                (StoreError,),
            )
        except ArtefactError as error:
            log.info("the student in force cannot be read: its stream is fitted anew", reason=str(error))
            return None
        return student

    async def _run(
        self,
        make: Callable[[Sequence[History]], Trained],
        histories: Sequence[History],
        known: Mapping[str, ModelRecord],
        outcome: Outcome,
    ) -> int:
        """One batched run. When it fails, each stream alone: one odd history must not cost the others theirs."""
        if not histories:
            return 0
        try:
            runs = [await asyncio.to_thread(make, histories)]
        except Exception:
            log.exception("a run failed, trying stream by stream", streams=len(histories))
            runs = []
            for history in histories:
                try:
                    runs.append(await asyncio.to_thread(make, [history]))
                except Exception as error:
                    log.exception("stream cannot be trained", stream=history.stream)
                    outcome.dropped[history.stream] = f"{type(error).__name__}: {error}"
        done = 0
        for trained in runs:
            done += await self._store(trained, known, outcome)
        return done

    async def _store(self, trained: Trained, known: Mapping[str, ModelRecord], outcome: Outcome) -> int:
        trained.header.lineage["deployment"] = self.deployment
        name = trained.header.version + SUFFIX
        data = trained.data()
        uri, sha256 = await patiently(
            store_name(self.store.uri), lambda: asyncio.to_thread(self.store.write, name, data), (StoreError,)
        )
        refs = trained.refs(uri, sha256)
        for member, result in zip(trained.header.members, trained.results, strict=True):
            record = record_of(member.stream, refs[member.stream], result, known.get(member.stream))
            outcome.records[member.stream] = record
            if not result.passed:
                log.warning("student stays a shadow", stream=member.stream, reason=result.reason)
        log.info("artefact stored", artefact=name, streams=len(refs), kb=len(data) // 1024)
        return len(refs)
