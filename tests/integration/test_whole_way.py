"""The whole way as its users have it: Telegraf's JSON on a topic of their own, an alert at Alertmanager, and resolved."""

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from streamer.settings import CommonSettings
from testkit.detecting import detecting, detector_settings, events
from testkit.serving import producing, running, until
from tests.integration.sinking import sinking
from tests.integration.test_sinks import alertmanager
from tests.integration.test_sources import topic
from tests.streamer.sinks.servers import AlertmanagerServer, serving

__all__ = ["topic"]
pytestmark = pytest.mark.kafka
STEP_S, CALM, HIGH = 10, 300, 12


async def test_telegraf_metrics_become_an_alert_at_alertmanager_and_end_there(
    settings: CommonSettings, topic: str, tmp_path: Path
) -> None:
    value_S = 20 + np.random.default_rng(3).normal(size=CALM + HIGH + 60)
    value_S[CALM : CALM + HIGH] += 60
    begin = int(time.time()) // STEP_S * STEP_S - len(value_S) * STEP_S
    async with (
        serving(AlertmanagerServer()) as am,
        producing(settings) as producer,
        running(settings, source=f"{topic}=telegraf"),
        detecting(detector_settings(settings)),
        sinking(settings, tmp_path, alertmanager(am)),
    ):

        async def publish(first: int, last: int) -> None:
            for slot in range(first, last):
                metric = {
                    "name": "cpu",
                    "tags": {"host": "a"},
                    "fields": {"usage": float(value_S[slot])},
                    "timestamp": begin + slot * STEP_S,
                }
                await producer.send_and_wait(topic, orjson.dumps(metric), partition=0)

        await publish(0, CALM + HIGH)

        async def alerted() -> bool:
            return len(am.requests) > 0

        await until(alerted)
        alert = list(am.alerts.values())[-1]
        assert "rose to" in alert["annotations"]["description"]
        assert datetime.fromisoformat(alert["endsAt"]).timestamp() > time.time()
        await publish(CALM + HIGH, len(value_S))

        async def over() -> bool:
            # One for each severity that the incident has had, since labels are what an alert is.
            return all(datetime.fromisoformat(a["endsAt"]).timestamp() <= time.time() for a in am.alerts.values())

        await until(over)
        assert am.errors == []
        told = [event.data for event in await events(settings) if event.data.kind == "anomaly"]
        assert {data.state for data in told} >= {"open", "resolved"}
        assert {data.incident_id for data in told} == {a["labels"]["incident_id"] for a in am.alerts.values()}
