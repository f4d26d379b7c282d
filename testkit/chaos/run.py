"""One chaos run: the same records without faults and with them, and what differs.

Compared: ids, revisions (number, state, slot) and final states of all incidents, and the bytes of every window.
Promised besides: no revision is told in two versions or skipped, offsets in Redis and committed ones are those of the
ends, no worker ends by itself, and no partition with records waiting stands still for longer than it may. Where Redis
is emptied (after all that), windows must come back byte for byte and nothing old may be told again.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from detector.live.settings import WorkerSettings
from streamer.host.losses import SYSTEM_STREAM
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.chaos.compare import Outcome, differences, offsets_wrong, outcome, windows_of
from testkit.chaos.fleet import ChaosFleet
from testkit.chaos.plan import Fault, Plan
from testkit.chaos.scene import SETTINGS_OF_DETECTORS, Scene
from testkit.chaos.servers import Servers
from testkit.chaos.watch import Watch
from testkit.detecting import PAST, STEP_MS, detecting, events, start_of
from testkit.serving import producing, running

PATIENCE_S = 600.0  # for what must come about in the end
SETTLED_LOOKS = 4  # half a second apart: nothing has been added


@dataclass
class Report:
    """What a run was, and what is wrong with it."""

    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    incidents: int = 0
    repeated: int = 0
    longest_s: float = 0.0
    undisturbed_s: float = 0.0
    emptied: bool = False
    wrong: list[str] = field(default_factory=list)


class Run:
    """One run on these servers; `fixed`: each worker has half of the partitions, otherwise they form groups.

    `stands_s`: how long a partition may stand still without a fault, where no other work is on the machine.
    """

    def __init__(
        self, servers: Servers, folder: Path, streams: int, live: int, *, fixed: bool, replication: int = 1,
        rooms: tuple[str, ...] = ("streamer", "detector"), say: Callable[[str], None] = lambda line: None,
        stands_s: float = math.inf,
    ) -> None:  # fmt: skip
        self.scene = Scene([f"s{i}" for i in range(streams)], live, start_of(PAST + live))
        self.report = Report()
        self._servers = servers
        self._folder = folder
        self._stands_s = stands_s
        self._fixed, self._replication, self._rooms, self._say = fixed, replication, rooms, say

    def _settings(self, name: str, redis_url: str) -> CommonSettings:
        return CommonSettings(
            bootstrap=self._servers.bootstrap, redis_url=redis_url, topic_prefix=f"{name}.", namespace=name,
            assignment="group", replication=self._replication, state_dir=self._folder / "state",
        )  # fmt: skip

    async def go(self, plan: Plan, pace_s: float, emptied: bool) -> Report:
        """Both runs, a round of records every `pace_s` seconds while there are faults; `emptied`: Redis is, at the end."""
        again = Retry(ConstantBackoff(0.2), 50)  # connections of before a kill are dead when they are next used
        async with redis.asyncio.Redis.from_url(self._servers.valkey.url, retry=again) as client:
            began = time.monotonic()
            undisturbed = await self._undisturbed(client)
            self._say(f"undisturbed run: {len(undisturbed.incidents)} incidents, {time.monotonic() - began:.0f} s")
            await self._disturbed(client, plan, pace_s, undisturbed, emptied)
        return self.report

    async def _undisturbed(self, client: redis.asyncio.Redis) -> Outcome:
        settings = self._settings("calm", self._servers.valkey.url)
        own = await self.scene.prepare(settings, client)
        fixed = WorkerSettings.model_validate({**own.model_dump(), "assignment": "all"})
        watch, hurry = Watch(settings, client), asyncio.Event()
        hurry.set()
        async with watch.watching(), detecting(fixed):
            async with running(settings, assignment="all"), producing(settings) as producer:
                await self.scene.publish(settings, producer, 0.0, hurry)
                await self._until("undisturbed windows", lambda: self._done(watch, client, settings, "metrics"))
            await self._until("undisturbed incidents", lambda: self._done(watch, client, settings, "windows"))
        return await outcome(settings, client, self.scene.streams)

    async def _disturbed(
        self, client: redis.asyncio.Redis, plan: Plan, pace_s: float, undisturbed: Outcome, emptied: bool
    ) -> None:
        report = self.report
        direct = self._settings("chaos", self._servers.valkey.url)
        await self.scene.prepare(direct, client)
        watch = Watch(direct, client)
        through = self._settings("chaos", self._servers.redis_url)
        fleet = ChaosFleet(through, self._folder / "logs", self._rooms, self._fixed, SETTINGS_OF_DETECTORS)
        try:
            async with watch.watching(), producing(direct) as producer:
                await fleet.start()
                began, hurry = time.monotonic(), asyncio.Event()
                publishing = asyncio.create_task(self.scene.publish(direct, producer, pace_s, hurry))
                await asyncio.gather(self._lane(plan.workers, fleet, watch), self._lane(plan.servers, fleet, watch))
                report.seconds = time.monotonic() - began
                hurry.set()
                await publishing
                self._say(f"{report.faults.total()} faults in {report.seconds:.0f} s")
                await self._to_the_end(fleet, watch, client, direct)
                disturbed = await outcome(direct, client, self.scene.streams)
                report.incidents, report.repeated = len(disturbed.incidents), disturbed.repeated
                report.wrong += differences(undisturbed, disturbed)
                report.wrong += await offsets_wrong(direct, watch)
                if emptied:
                    watch.faults += 1
                    await self._emptied(fleet, watch, client, direct, disturbed)
        finally:
            fleet.kill()
        report.longest_s, report.undisturbed_s = watch.longest_s, watch.undisturbed_s
        if watch.undisturbed_s > self._stands_s:
            report.wrong.append(
                f"a partition stood still for {watch.undisturbed_s:.0f} s without a fault: {watch.where}"
            )
        report.wrong += [f"ended by itself: {line}" for line in fleet.ended]

    async def _lane(self, faults: Sequence[Fault], fleet: ChaosFleet, watch: Watch) -> None:
        for fault in faults:
            watch.faults += 1
            try:
                await self._suffer(fault, fleet)
            finally:
                watch.faults -= 1
            self.report.faults[f"{fault.kind} {fault.target}"] += 1
            self._say(f"{self.report.faults.total()}: {fault.kind} {fault.target}")
            await asyncio.sleep(fault.pause_s)

    async def _suffer(self, fault: Fault, fleet: ChaosFleet) -> None:
        servers = self._servers
        if fault.target in self._rooms:
            await fleet.suffer(fault)
        elif fault.kind == "kill" and fault.target == "redis":
            await servers.kill_redis(fault.seconds)
        elif fault.kind == "kill":
            await servers.kill_broker(fault.choice % 3, fault.seconds)
        else:
            proxies = servers.kafka_proxies if fault.target == "kafka" else [servers.redis_proxy]
            proxy = proxies[fault.choice % len(proxies)]
            if fault.kind == "truncate":
                await proxy.truncate()
            elif fault.kind == "stall":
                await proxy.stall(fault.seconds)
            else:
                await proxy.cut(fault.seconds)

    async def _to_the_end(
        self, fleet: ChaosFleet, watch: Watch, client: redis.asyncio.Redis, settings: CommonSettings
    ) -> None:
        """All that was published is applied and judged; no worker runs afterwards."""
        await self._until("all windows", lambda: self._done(watch, client, settings, "metrics"), fleet)
        await fleet.stop("streamer")
        await self._until("all incidents", lambda: self._done(watch, client, settings, "windows"), fleet)
        await fleet.stop()

    async def _done(self, watch: Watch, client: redis.asyncio.Redis, settings: CommonSettings, topic: str) -> bool:
        """Whether all of the topic is applied, and nothing comes any more."""
        last = self.scene.start_ms // STEP_MS + PAST + self.scene.live - 1
        for _ in range(SETTLED_LOOKS):
            ends = dict(watch.ends)
            await asyncio.sleep(0.5)
            await watch.load()
            moving = topic == "windows" and ends != watch.ends
            if moving or not watch.ends or watch.behind(topic):
                return False
        headers = await read_headers(client, Keys(settings.namespace), self.scene.streams)
        return len(headers) == len(self.scene.streams) and {header.hi for header in headers.values()} == {last}

    async def _until(
        self, what: str, condition: Callable[[], Awaitable[bool]], fleet: ChaosFleet | None = None
    ) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await condition():
            if fleet is not None:
                fleet.check()
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE_S:.0f} s: {what}")
            await asyncio.sleep(0.1)

    async def _emptied(
        self, fleet: ChaosFleet, watch: Watch, client: redis.asyncio.Redis, settings: CommonSettings, before: Outcome
    ) -> None:
        """FLUSHALL while the workers run and nothing is sent: windows come back, nothing old is told again."""
        await fleet.start()
        told = {event.id for event in await events(settings)}
        await client.flushall()

        async def back() -> bool:
            return await windows_of(settings, client, self.scene.streams) == before.windows

        await self._until("windows rebuilt after Redis was emptied", back, fleet)
        await self._to_the_end(fleet, watch, client, settings)
        new = {event.id: event for event in await events(settings) if event.id not in told}
        system = [event for event in new.values() if event.subject == SYSTEM_STREAM]
        self.report.wrong += [
            f"told after Redis was emptied: {e.id} of {e.subject}" for e in new.values() if e not in system
        ]
        if len(system) != 1:
            self.report.wrong.append(f"{len(system)} events say that Redis has lost data")
        self.report.wrong += await offsets_wrong(settings, watch)
        self.report.emptied = True
