"""The README's client, as it stands there, against all three workers: it must see its own anomaly."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from streamer.host.fleet import Fleet, worker_env
from streamer.settings import CommonSettings

README = Path(__file__).parents[2] / "README.md"


def client(settings: CommonSettings) -> str:
    """The Python snippet of the README, pointed at this test's broker and topics."""
    code: str
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for old, new in (
        ('"127.0.0.1:9092"', repr(settings.bootstrap)),
        ('"metrics"', repr(settings.topic("metrics"))),
        ('"anomalies"', repr(settings.topic("anomalies"))),
    ):
        assert old in code
        code = code.replace(old, new)
    return code


@pytest.mark.slow(95)  # the client publishes for 90 seconds
async def test_a_plain_kafka_client_publishes_an_anomaly_and_reads_its_alert(settings: CommonSettings) -> None:
    workers = Fleet({**os.environ, **worker_env(settings)}, settings.state_dir)
    workers.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", client(settings), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        workers.check()
    finally:
        await workers.stop()
    assert process.returncode == 0, err.decode()
    assert "my.sine" in out.decode(), f"no alert: {(settings.state_dir / 'logs' / 'detector.log').read_text()[-3000:]}"
