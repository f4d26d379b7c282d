"""Redis and Kafka go away under the detector: it waits, and goes on where it was."""

from pathlib import Path

import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.detecting import PAST, events, normal, ready
from testkit.serving import until


async def test_redis_and_then_the_broker_are_killed_and_come_back(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    settings = CommonSettings(
        bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path / "state"
    )
    client = redis.asyncio.Redis.from_url(stack.redis_url)
    await provision(settings)
    try:
        async with ready(settings, client, ["a"]) as run:

            async def said(*wanted: str) -> bool:
                published = {
                    event.id: event.data for event in await events(settings, "a")
                }  # a revision may be repeated
                states = [data.state for data in published.values() if data.kind == "anomaly"]
                return [state for state in states if state != "update"] == list(wanted)  # a long one is told again

            high = normal(PAST, 60)
            high[50:] += 30.0
            await run.live("a", PAST, high)
            await until(lambda: said("open"))
            (opened,) = await events(settings, "a")

            stack.kill_redis()
            await run.live("a", PAST + 60, normal(PAST + 60, 150))  # the widest look holds it for 64 slots
            await stack.start_redis()
            await until(lambda: said("open", "resolved"))
            assert opened.data.incident_id in {event.data.incident_id for event in await events(settings, "a")}

            stack.kill_broker()  # the embedded broker forgets everything; Redis and the student do not
            await stack.start_broker()
            await until(lambda: _provisioned(settings))
            again = normal(PAST + 210, 60)
            again[50:] += 30.0
            await run.live("a", PAST + 210, again)
            await until(lambda: said("open"))
            anomalies = {e.data.incident_id for e in await events(settings, "a") if e.data.kind == "anomaly"}
            assert opened.data.incident_id not in anomalies
    finally:
        await client.aclose()
        await stack.stop()


async def _provisioned(settings: CommonSettings) -> bool:
    return not await provision(settings)
