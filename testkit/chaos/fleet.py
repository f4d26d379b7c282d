"""Two of each worker as processes, what is done to them, and whether one has ended by itself."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from streamer.host.fleet import worker_env
from streamer.host.processes import Child
from streamer.settings import CommonSettings
from testkit.chaos.plan import Fault

READY_S = 120.0  # imports of torch in several processes at a time


class ChaosFleet:
    """Workers by room, in consumer groups or (`fixed`) each with half of the partitions."""

    def __init__(
        self, settings: CommonSettings, folder: Path, rooms: tuple[str, ...], fixed: bool, more: Mapping[str, object]
    ) -> None:
        """`more` are settings of all workers."""
        self._env = {
            **os.environ,
            **worker_env(settings),
            "ANOMALYLLM_LOG_FORMAT": "json",
            "ANOMALYLLM_TEACHER": "none",
        }
        self._env |= {f"ANOMALYLLM_{name.upper()}": str(value) for name, value in more.items()}
        self._folder = folder
        self._fixed = fixed
        half = settings.partitions // 2
        self._halves = [",".join(map(str, range(half))), ",".join(map(str, range(half, settings.partitions)))]
        self._made = 0
        self.workers: dict[str, list[Child]] = {}
        self._doing: dict[Child, str] = {}  # assignment
        self._zombies: list[Child] = []
        self.ended: list[str] = []  # workers that have ended by themselves: where, and the end of their log
        self._rooms = rooms

    async def start(self) -> None:
        """Two of each; returns once all are ready."""
        for room in self._rooms:
            self.workers[room] = [self._start(room, half) for half in self._halves]
        await asyncio.gather(*(self.ready(child) for children in self.workers.values() for child in children))

    async def stop(self, *rooms: str) -> None:
        """Ask the workers of these rooms (all by default) to drain and end."""
        self.check()
        children = [child for room in rooms or self._rooms for child in self.workers.pop(room, [])]
        await asyncio.gather(*(child.stop(timeout_s=20.0) for child in children))

    def kill(self) -> None:
        """kill -9 whatever is left."""
        for child in [*self._zombies, *(child for children in self.workers.values() for child in children)]:
            child.kill()

    def check(self) -> None:
        """Note who has ended by itself, and start it again: one note, not a run that never ends."""
        for room, children in self.workers.items():
            for place, child in enumerate(children):
                if child.returncode is not None:
                    self.ended.append(f"{child.name} with status {child.returncode}: {child.log_tail()}")
                    children[place] = self._start(room, self._doing[child])

    async def ready(self, child: Child) -> None:
        """Return once it has connected; one that ends instead is noted by `check`."""
        async with asyncio.timeout(READY_S):
            while child.alive and b" ready" not in child.log.read_bytes():
                await asyncio.sleep(0.1)

    def _start(self, room: str, half: str) -> Child:
        self._made += 1
        name = f"{room}-{self._made}"
        assignment = half if self._fixed and room != "trainer" else "group"
        env = {
            **self._env,
            "ANOMALYLLM_ASSIGNMENT": assignment,
            "ANOMALYLLM_WORKER_NAME": name,
            "ANOMALYLLM_METRICS_PORT": "0",
        }
        child = Child(name, [sys.executable, "-m", "streamer.cli", room], self._folder / f"{name}.log", env=env)
        child.start()
        self._doing[child] = half
        return child

    async def suffer(self, fault: Fault) -> None:
        """Do it; returns when it is over, and workers that were started again are starting."""
        self.check()
        children = self.workers[fault.target]
        place = fault.choice % len(children)
        await getattr(self, f"_{fault.kind}")(fault, children, place)

    async def _kill(self, fault: Fault, children: list[Child], place: int) -> None:
        children[place].kill()
        children[place] = self._start(fault.target, self._doing[children[place]])
        await self.ready(children[place])

    async def _freeze(self, fault: Fault, children: list[Child], place: int) -> None:
        child = children[place]
        _signal(child, signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        _signal(child, signal.SIGCONT)

    async def _usurp(self, fault: Fault, children: list[Child], place: int) -> None:
        old = children[place]
        self._zombies.append(old)
        _signal(old, signal.SIGSTOP)
        children[place] = self._start(fault.target, self._doing[old])
        await self.ready(children[place])
        _signal(old, signal.SIGCONT)
        await asyncio.sleep(2.0 + fault.seconds)
        old.kill()
        self._zombies.remove(old)

    async def _swap(self, fault: Fault, children: list[Child], place: int) -> None:
        halves = [self._doing[child] for child in children]
        await asyncio.gather(*(child.stop(timeout_s=20.0) for child in children))
        children[:] = [self._start(fault.target, half) for half in reversed(halves)]
        await asyncio.gather(*map(self.ready, children))

    async def _resize(self, fault: Fault, children: list[Child], place: int) -> None:
        async def leave(count: int) -> None:
            for _ in range(count):
                await children.pop(0).stop(timeout_s=20.0)

        async def join(count: int) -> None:
            new = [self._start(fault.target, half) for half in self._halves[:count]]
            children.extend(new)
            await asyncio.gather(*map(self.ready, new))

        await leave(1)
        await join(2)
        await leave(2)
        await join(1)


def _signal(child: Child, number: signal.Signals) -> None:
    assert child.pid is not None
    os.kill(child.pid, number)
