"""Redis emptied under a sink: what it told is not told again, what was open is closed, what comes new is told."""

from pathlib import Path

import pytest
import redis.asyncio

from streamer.host.losses import SYSTEM_STREAM
from streamer.settings import CommonSettings
from testkit.serving import producing, send_events, until
from tests.integration.sinking import life, sinking
from tests.integration.test_redis_lost import empty
from tests.streamer.sinks.samples import event
from tests.streamer.sinks.servers import FakeServer, serving


@pytest.mark.slow(7)
async def test_redis_emptied_under_a_sink(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    async with serving(FakeServer()) as hook, producing(settings) as producer:

        def ids() -> list[str]:
            return [request.json["id"] for request in hook.requests if request.json["subject"] != SYSTEM_STREAM]

        def system() -> int:
            return sum(request.json["subject"] == SYSTEM_STREAM for request in hook.requests)

        text = f'[sinks.hook]\ntype = "webhook"\nurl = "{hook.url}/hook"\n'
        async with sinking(settings, tmp_path, text) as process:
            opened, resolved = life("i-2")
            await send_events(producer, settings, *life("i-1"), opened)

            async def told() -> bool:
                return len(ids()) >= 2

            await until(told)
            await empty(redis_client, settings)

            async def noticed() -> bool:  # by the sink itself, which tells it as it tells incidents
                return system() == 1

            await until(noticed)
            await send_events(producer, settings, resolved, event("i-3"))

            async def all_told() -> bool:
                return {"i-2:1", "i-3:0"} <= set(ids())

            await until(all_told)

            async def settled() -> bool:  # the receiver has it a moment before the sink has its answer
                return not any(worker.intake.pending() for worker in process.workers)

            await until(settled)
            before = sorted(ids())
        assert before.count("i-2:0") == before.count("i-2:1") == before.count("i-3:0") == 1
        assert len(before) == len(set(before))
        async with sinking(settings, tmp_path, text):  # all is stored again
            await send_events(producer, settings, event("i-3", 1, "resolved"), event("i-4"))

            async def the_rest() -> bool:
                return {"i-3:1", "i-4:0"} <= set(ids())

            await until(the_rest)
    assert sorted(ids()) == sorted([*before, "i-3:1", "i-4:0"])
    assert system() == 1
