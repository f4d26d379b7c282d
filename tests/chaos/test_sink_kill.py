"""kill -9 of the sinks' process in mid-work: nothing is lost, and nothing is told twice beyond what dedup takes."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response

from streamer.host.fleet import worker_env
from streamer.kafka.client import make_producer
from streamer.settings import CommonSettings
from streamer.sinks.outgoing import MESSAGES_A_NOTE
from testkit.serving import read_all, send_events, until
from tests.streamer.sinks.samples import KEY, event
from tests.streamer.sinks.servers import FakeServer, PagerDutyServer, serving

pytestmark = pytest.mark.kafka
INCIDENTS = 80
KILLS = 4
WORK_S = 0.02  # of a server over one request: a kill finds some on their way


class SlowPagerDuty(PagerDutyServer):
    """Takes its time between having heard and having answered."""

    async def handle(self, request: Request) -> Response:
        """As its parent."""
        answer = await super().handle(request)
        await asyncio.sleep(WORK_S)
        return answer


class SlowHook(FakeServer):
    """The same for a webhook."""

    async def handle(self, request: Request) -> Response:
        """As its parent."""
        answer = await super().handle(request)
        await asyncio.sleep(WORK_S)
        return answer


async def start(settings: CommonSettings, file: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "streamer.cli", "sink", "--sinks", str(file)]
    return await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **worker_env(settings), "PD_KEY": KEY}, stderr=asyncio.subprocess.DEVNULL
    )


def seen(server: FakeServer, action: str | None = None) -> int:
    requests: Sequence[bytes] = [request.body for request in server.requests]
    return len(requests if action is None else [b for b in requests if orjson.loads(b)["event_action"] == action])


@pytest.mark.slow(14)
async def test_kill_9_in_mid_work_loses_nothing(settings: CommonSettings, tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    async with serving(SlowPagerDuty()) as pd, serving(SlowHook()) as hook:
        file.write_text(
            f'[sinks.pager]\ntype = "pagerduty"\nrouting_key = {{ env = "PD_KEY" }}\nurl = "{pd.url}/v2/enqueue"\n'
            f'rate_limit = {{ messages = 1000, per = "1s" }}\n'
            f'[sinks.hook]\ntype = "webhook"\nurl = "{hook.url}"\n'
        )
        producer = await make_producer(settings)
        worker = await start(settings, file)

        async def load() -> None:
            for n in range(INCIDENTS):
                await send_events(producer, settings, event(f"i-{n}", stream=f"s{n}"))
                await asyncio.sleep(0.05)
            for n in range(INCIDENTS):
                await send_events(producer, settings, event(f"i-{n}", 1, "resolved", stream=f"s{n}"))
                await asyncio.sleep(0.05)

        async def started() -> bool:
            return seen(pd) > 0 and seen(hook) > 0

        first = event("first", stream="first")

        async def listening() -> bool:
            await send_events(producer, settings, first)
            return await started()

        try:
            await until(listening)
            loading = asyncio.create_task(load())
            for _ in range(KILLS):
                before = seen(pd), seen(hook)

                async def busy(before: tuple[int, int] = before) -> bool:
                    return (seen(pd) > before[0] + 5 and seen(hook) > before[1] + 5) or loading.done()

                await until(busy)
                worker.kill()
                await worker.wait()
                worker = await start(settings, file)
            await loading

            async def all_over() -> bool:
                told = {request.json["id"] for request in hook.requests}
                return (
                    all(pd.states.get(f"i-{n}") == "resolved" for n in range(INCIDENTS))
                    and {f"i-{n}:1" for n in range(INCIDENTS)} <= told
                )

            await until(all_over)
        finally:
            worker.kill()
            await worker.wait()
            await producer.stop()
    _check_pager(pd)
    _check_hook(hook)
    assert await read_all(settings, "dead-letters") == []


def _check_pager(pd: PagerDutyServer) -> None:
    """Every incident was triggered, then resolved, then never heard of again."""
    assert pd.errors == []
    for n in range(INCIDENTS):
        actions = [r.json["event_action"] for r in pd.requests if r.json["dedup_key"] == f"i-{n}"]
        assert actions[0] == "trigger"
        assert actions == sorted(actions, reverse=True)  # all triggers come before all resolves
    repeated = seen(pd) - 1 - 2 * INCIDENTS
    assert repeated <= KILLS * MESSAGES_A_NOTE  # no more than were on their way at a kill


def _check_hook(hook: FakeServer) -> None:
    """What was sent twice bears the same id, by which a receiver drops it."""
    bodies: dict[str, set[bytes]] = {}
    for request in hook.requests:
        bodies.setdefault(request.headers["webhook-id"], set()).add(request.body)
    assert {key: found for key, found in bodies.items() if len(found) > 1} == {}
