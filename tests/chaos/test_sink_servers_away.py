"""Kafka, Redis and a sink's server away: sinks wait, lose nothing, and say it without flooding the log."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from streamer.host.fleet import worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from testkit.serving import send_events, servers_away, until
from tests.streamer.sinks.samples import KEY, event
from tests.streamer.sinks.servers import PagerDutyServer, serving


async def test_sinks_wait_for_their_servers(tmp_path: Path) -> None:
    file, log = tmp_path / "sinks.toml", tmp_path / "log"
    async with servers_away(tmp_path) as (stack, settings), serving(PagerDutyServer()) as pd:

        async def say(incident_id: str, revision: int, state: str) -> None:
            await provision(settings)
            producer = await make_producer(settings)
            await send_events(producer, settings, event(incident_id, revision, state, stream=incident_id))
            await producer.stop()

        async def said(text: str) -> bool:
            return text in log.read_text()

        file.write_text(
            f'[sinks.pager]\ntype = "pagerduty"\nrouting_key = {{ env = "PD_KEY" }}\nurl = "{pd.url}/v2/enqueue"\n'
        )

        async def believed(incident_id: str, state: str) -> bool:
            return bool(getattr(pd, "states", {}).get(incident_id) == state)

        command = [sys.executable, "-m", "streamer.cli", "sink", "--sinks", str(file)]
        with log.open("wb") as out:
            worker = await asyncio.create_subprocess_exec(
                *command, env={**os.environ, **worker_env(settings), "PD_KEY": KEY}, stderr=out
            )
        try:
            await until(lambda: said('"on": "Redis'))
            await stack.start_redis()
            await until(lambda: said('"on": "Kafka'))
            await stack.start_broker()
            await until(lambda: said("sink ready"))
            await say("a", 0, "open")
            await until(lambda: believed("a", "triggered"))
            await asyncio.sleep(1.5)  # appendonly everysec: older than that is there after a kill -9 of Redis
            stack.kill_redis()
            await say("b", 0, "open")
            await asyncio.sleep(1)
            await stack.start_redis()
            await until(lambda: believed("b", "triggered"))
            pd.down = 503
            await say("c", 0, "open")
            await until(lambda: said("sink away"))
            pd.down = None
            await until(lambda: believed("c", "triggered"))
            stack.kill_broker()
            await stack.start_broker()  # a new one, and empty
            await until(lambda: said("the broker is a new one"))
            for incident_id in "abc":
                await say(incident_id, 1, "resolved")
            for incident_id in "abc":
                await until(lambda incident_id=incident_id: believed(incident_id, "resolved"))  # type: ignore[misc]
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
        finally:
            if worker.returncode is None:
                worker.kill()
    lines = log.read_text().splitlines()
    assert pd.errors == []
    assert not [line for line in lines if "Traceback" in line]
    assert len(lines) < 80
