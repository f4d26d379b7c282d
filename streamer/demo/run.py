"""`anomalyllm demo`: the whole pipeline on this host, a provoked anomaly and a known one, and a verdict."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from streamer.contracts import OVER, READY_SLOTS, Incident
from streamer.demo.burn import Burn
from streamer.demo.control_streams import INJECTED, UNTOUCHED
from streamer.demo.feed import Feed
from streamer.demo.screen import AlertView, DemoView, StreamView
from streamer.demo.watch import Opening, Record, Watch
from streamer.errors import UnavailableError
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import WORKERS, Fleet, worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.redis_client import make_redis
from streamer.security import NO_SECURITY
from streamer.settings import CommonSettings

STUDENTS_WANTED = 8
FALSE_ALERTS_ALLOWED = 2
QUIET_S = 15.0
# All of it fits into two minutes, counted from the start of the command: the provocation comes at the latest
# at PROVOKE_AT_S, is watched for at most WATCH_S, and stopping takes a few seconds. On a host that is slow or busy it comes
# later: there may be LEARNING_S for students from the host's first point on, and QUIET_S after them.
WORKERS_UP_S, LEARNING_S = 180.0, 60.0
# The pipeline's first steps (imports, teacher, first students) are not the normal state of this host.
CONTROLS_S = 10.0
SETTLE_S = 3.0
# At 10 Hz the default, two slots of three, is a fifth of a second: a blip of any busy host. Half a second is an event.
OPERATORS_CHOICE = {"ANOMALYLLM_OPEN_HITS": "5", "ANOMALYLLM_OPEN_WINDOW": "6"}
PROVOKE_AT_S = 95.0
WATCH_S = 15.0
# Long enough to be an incident at every scale of the first students (16 and 64 slots of 0.1 s).
BURN_S = 8.0
ANOMALY_SLOTS = 48
# After both were found, so that the alerts that come along are seen as well.
AFTERGLOW_S = 2.0


@dataclass(frozen=True)
class Detection:
    """Whether an anomaly was found, how long after it began it was heard of, and on which streams."""

    detected: bool
    delay_s: float | None
    streams: list[str]


@dataclass(frozen=True)
class Outcome:
    """What `--json` prints."""

    points_in: int
    windows_scored: int
    students_trained: int
    alerts: int
    dead_letters: int
    provoked: Detection
    control: Detection
    false_alerts: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Both found, enough students, few false alerts."""
        return (
            self.provoked.detected
            and self.control.detected
            and self.students_trained >= STUDENTS_WANTED
            and self.false_alerts <= FALSE_ALERTS_ALLOWED
        )

    def as_json(self) -> dict[str, object]:
        """The keys of the contract; `control` has no `streams`, there is only one."""
        fields = asdict(self)
        fields["control"].pop("streams")
        return fields


class Show(Protocol):
    """Where the demo is shown: a live screen, or lines."""

    def update(self, view: DemoView) -> None:
        """Draw the present state; called about ten times a second."""
        ...

    def phase(self, view: DemoView) -> None:
        """A new phase has begun."""
        ...

    def alert(self, alert: AlertView) -> None:
        """An alert came."""
        ...


class Demo:
    """One run. `run` ends with the verdict; with `stay` it goes on until cancelled, the verdict in `outcome`."""

    def __init__(self, settings: CommonSettings, show: Show) -> None:
        self._settings = settings
        self._show = show
        self._view = DemoView()
        self._started = time.monotonic()
        self._provoked_at: float | None = None
        self._provoke_by = PROVOKE_AT_S
        self._judged: set[str] = set()
        self._background: list[asyncio.Task[None]] = []
        self._folder: Path
        self._watch: Watch
        self._feed: Feed
        self._workers: Fleet
        self.outcome: Outcome | None = None

    async def run(self, *, stay: bool = False) -> Outcome:
        """Start everything, provoke, judge, stop everything. Raises ProcessDiedError when a worker dies."""
        state_dir: Path = self._settings.state_dir.resolve()
        # Emptied at the start. What is beside it stays: the unpacked teacher serves the next run, too.
        self._folder = state_dir / "demo"
        self._phase("starting", "embedded broker and Redis")
        async with EmbeddedStack(self._folder, fresh=True) as stack:
            servers = {**NO_SECURITY, "bootstrap": stack.bootstrap, "redis_url": stack.redis_url}
            folders = {"state_dir": state_dir, "store": str(self._folder / "models")}
            async with self._everything(self._settings.model_copy(update={**servers, **folders})):
                await self._warm_up()
                await self._calm_down()
                burn = Burn(BURN_S, self._folder)
                try:
                    self._provoke(burn)
                    await self._observe()
                    self.outcome = self._judge()
                    while stay:
                        await self._tick()
                finally:
                    burn.stop()
        return self.outcome

    @asynccontextmanager
    async def _everything(self, settings: CommonSettings) -> AsyncIterator[None]:
        async with AsyncExitStack() as leave:
            created = await provision(settings)
            self._phase("starting", f"{len(created)} topics made; streamer, detector and trainer are starting")
            chosen = {name: value for name, value in OPERATORS_CHOICE.items() if name not in os.environ}
            self._workers = Fleet(worker_env(settings) | chosen, self._folder)
            leave.push_async_callback(self._workers.stop)
            self._workers.start()
            client = make_redis(settings)
            leave.push_async_callback(client.aclose)
            self._watch = Watch(settings, client)
            leave.push_async_callback(self._watch.stop)
            await self._watch.start()
            producer = await make_producer(settings)
            leave.push_async_callback(producer.stop)
            self._feed = Feed(producer, settings)
            await self._feed.publish_settings(host_paused=True)
            self._view.streams = {name: StreamView(unit) for name, unit in self._feed.units.items()}
            await self._workers_up()
            self._background = [asyncio.create_task(self._feed.run()), asyncio.create_task(self._look())]
            try:
                yield
            finally:
                for task in self._background:
                    task.cancel()
                await asyncio.wait(self._background)

    async def _workers_up(self) -> None:
        # What this host does while the workers import and load is not its normal state: watch it afterwards.
        while not set(WORKERS) <= set(self._watch.record.stats):
            if self._elapsed() > WORKERS_UP_S:
                missing = ", ".join(sorted(set(WORKERS) - set(self._watch.record.stats)))
                raise UnavailableError(
                    f"not up after {WORKERS_UP_S:g} s: {missing}; see the logs in {self._folder}/logs"
                )
            await self._watch.read_stats()
            await self._tick()

    async def _warm_up(self) -> None:
        self._phase("settling", "the control streams come with a history; the trainer fits their students first")
        by = self._elapsed() + CONTROLS_S
        while not {INJECTED.name, UNTOUCHED.name} <= self._record.tried and self._elapsed() < by:
            await self._tick()
        await self._wait(SETTLE_S)
        self._feed.begin_host()
        self._provoke_by = max(PROVOKE_AT_S, self._elapsed() + LEARNING_S + QUIET_S)
        self._phase("learning", "this host's metrics arrive; the trainer fits a student once a stream has 256 slots")
        while self._elapsed() < self._provoke_by - QUIET_S:
            everybody = set(self._view.streams) <= self._record.tried
            if everybody and len(self._record.models) >= STUDENTS_WANTED:
                break
            await self._tick()
        # The trainer has just burnt CPU on the host that it was to learn: real, known, and nobody's alert.
        await self._wait(SETTLE_S)
        await self._feed.publish_settings(host_paused=False)

    async def _calm_down(self) -> None:
        count = len(self._record.models)
        self._phase("watching", f"{count} students at work; waiting for {QUIET_S:g} quiet seconds")
        since = time.time()
        while self._elapsed() < self._provoke_by:
            now = time.time()
            if now - since >= QUIET_S and all(self._record.quiet(name, now, QUIET_S) for name in self._view.streams):
                return
            await self._tick()

    def _provoke(self, burn: Burn) -> None:
        now = time.time()
        host = self._feed.host_streams
        self._judged = {name for name in host if self._record.quiet(name, now, QUIET_S) and name in self._record.models}
        self._phase("provoking", f"burning CPU and disk for {BURN_S:g} s; {INJECTED.name} runs three times as fast")
        self._provoked_at = now
        burn.start()
        self._feed.inject(ANOMALY_SLOTS)

    async def _observe(self) -> None:
        assert self._provoked_at is not None
        found_at: float | None = None
        while (now := time.time()) - self._provoked_at < WATCH_S:
            if found_at is None and self._host_openings() and self._control_openings():
                found_at = now
            if found_at is not None and now - found_at >= AFTERGLOW_S:
                return
            await self._tick()

    def _judge(self) -> Outcome:
        record = self._record
        outcome = Outcome(
            points_in=record.count("streamer", "points_in"),
            windows_scored=record.count("detector", "windows_scored"),
            students_trained=len(record.tried),
            alerts=len(record.openings),
            dead_letters=record.dead_letters.total(),
            provoked=self._detection(self._host_openings()),
            control=self._detection(self._control_openings()),
            false_alerts=record.false_alerts(self._provoked_at, UNTOUCHED.name),
            seconds=round(self._elapsed(), 1),
        )
        self._phase("passed" if outcome.passed else "failed", summary(outcome))
        return outcome

    @property
    def _record(self) -> Record:
        return self._watch.record

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _host_openings(self) -> list[Opening]:
        assert self._provoked_at is not None
        return self._record.opened(self._judged, self._provoked_at)

    def _control_openings(self) -> list[Opening]:
        assert self._provoked_at is not None
        return self._record.opened({INJECTED.name}, self._provoked_at)

    def _detection(self, openings: list[Opening]) -> Detection:
        if not openings or self._provoked_at is None:
            return Detection(False, None, [])
        delay_s = min(opening.received for opening in openings) - self._provoked_at
        return Detection(True, round(delay_s, 2), list(dict.fromkeys(opening.stream for opening in openings)))

    def _phase(self, phase: str, detail: str) -> None:
        self._view.phase, self._view.detail, self._view.elapsed_s = phase, detail, self._elapsed()
        self._show.phase(self._view)

    async def _wait(self, seconds: float) -> None:
        until = self._elapsed() + seconds
        while self._elapsed() < until:
            await self._tick()

    async def _tick(self) -> None:
        self._workers.check()
        for task in self._background:
            if task.done():
                await task
        self._view.elapsed_s = self._elapsed()
        self._show.update(self._view)
        await asyncio.sleep(0.1)

    async def _look(self) -> None:
        """In the background: topics as they come, statistics once a second, both onto the screen."""
        next_stats, points, at = 0.0, 0, time.monotonic()
        while True:
            for incident in await self._watch.poll():
                self._alert(incident)
            if (now := time.monotonic()) >= next_stats:
                next_stats = now + 1.0
                await self._watch.read_stats()
                total = self._record.count("streamer", "points_in")
                self._view.points_per_s = max(0.0, (total - points) / max(now - at, 0.1))
                points, at = total, now
            self._fill()
            await asyncio.sleep(0.05)

    def _fill(self) -> None:
        view, record = self._view, self._record
        view.points_in = record.count("streamer", "points_in")
        view.windows_scored = record.count("detector", "windows_scored")
        view.dead_letters = record.dead_letters.total()
        open_on = list(record.open_now.values())
        for name, stream in view.streams.items():
            if name in self._feed.latest:
                stream.values.append(self._feed.latest[name])
            seen = record.models.get(name)
            stream.state = "cold" if seen is None else "warming" if seen < READY_SLOTS else "ready"
            stream.open_incidents = open_on.count(name)
        states = [stream.state for stream in view.streams.values()]
        view.students = {state: states.count(state) for state in ("cold", "warming", "ready")}

    def _alert(self, incident: Incident) -> None:
        clock = time.strftime("%H:%M:%S")
        alert = AlertView(clock, incident.stream, incident.state, incident.severity, incident.reason)
        if incident.state == "update":  # a longer incident, not a new word: the open line says it
            return
        self._view.alerts.appendleft(alert)
        if incident.state not in OVER or incident.state == "resolved":
            self._show.alert(alert)


def summary(outcome: Outcome) -> str:
    """The verdict in one line for a person."""
    parts = []
    for what, found in (("provoked", outcome.provoked), ("control", outcome.control)):
        where = f" on {', '.join(found.streams)}" if found.streams and what == "provoked" else ""
        parts.append(f"{what} anomaly " + (f"found after {found.delay_s:.1f} s{where}" if found.detected else "MISSED"))
    parts.append(f"{outcome.false_alerts} false alerts")
    parts.append(f"{outcome.students_trained} students")
    return "; ".join(parts)
