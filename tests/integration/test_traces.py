"""From a point to its alert: one trace, through Kafka headers, into an exporter in memory."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
import redis.asyncio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamer import tracing
from streamer.kafka.client import header
from streamer.settings import CommonSettings
from testkit.detecting import PAST, STEP_MS, normal, ready
from testkit.serving import read_all, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Traces are on for one test."""
    made = InMemorySpanExporter()
    tracing.switch_on("test", "0", made)
    yield made
    tracing.switch_off()


def trace_of(parent: str | None) -> str:
    """Trace of a traceparent header."""
    return (parent or "--").split("-")[1]


async def test_an_alert_belongs_to_the_trace_of_its_point(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, exporter: InMemorySpanExporter
) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, normal(PAST, 20), piece=20)

        async def judged() -> bool:  # a batch of records of several traces belongs to the first of them
            return run.detector.judge.windows >= 20

        await until(judged)
        values = np.full(5, 60.0)
        rows = [[run.start_ms + (PAST + 20 + k) * STEP_MS, float(value)] for k, value in enumerate(values)]
        body = orjson.dumps({"stream": "a", "points": rows})
        headers = [("traceparent", PARENT.encode())]
        await run.producer.send_and_wait(settings.topic("metrics"), body, key=b"a", headers=headers)

        async def alerted() -> bool:
            return bool(await read_all(settings, "anomalies"))

        await until(alerted)
        alerts = await read_all(settings, "anomalies")
        changes = await read_all(settings, "windows")
    assert {trace_of(header(alert, "traceparent")) for alert in alerts} == {TRACE}
    traced = [record for record in changes if trace_of(header(record, "traceparent")) == TRACE]
    assert len(traced) == 1
    spans = {
        span.name: span
        for span in exporter.get_finished_spans()
        if span.context is not None and f"{span.context.trace_id:032x}" == TRACE
    }
    assert set(spans) == {"streamer.batch", "detector.batch"}
    first, second = spans["streamer.batch"], spans["detector.batch"]
    assert first.parent is not None
    assert second.parent is not None
    assert f"{first.parent.span_id:016x}" == SPAN
    assert first.context is not None
    assert second.context is not None
    assert second.parent.span_id == first.context.span_id
    assert f"{second.context.span_id:016x}" in {(header(alert, "traceparent") or "").split("-")[2] for alert in alerts}


async def test_records_of_other_traces_are_links(exporter: InMemorySpanExporter) -> None:
    class Record:
        def __init__(self, *headers: tuple[str, bytes]) -> None:
            self.headers = headers

    other = f"00-{'1' * 32}-{'2' * 16}-01"
    records = [Record(), Record(("traceparent", PARENT.encode())), Record(("traceparent", other.encode()))]
    with tracing.batch_span("batch", records):
        [(name, value)] = tracing.carried()
    assert (name, trace_of(value.decode())) == ("traceparent", TRACE)
    [span] = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in span.links] == ["1" * 32]
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3


def test_off_nothing_is_carried_and_nothing_of_it_imported() -> None:
    with tracing.batch_span("batch", [object()]):
        assert tracing.carried() == []
    code = "import sys, streamer.tracing; print('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
