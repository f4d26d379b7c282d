"""What a worker says over HTTP, asked by real requests."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.errors import ConfigError
from streamer.host.fleet import WORKERS, metrics_ports
from streamer.host.metrics_page import catalogue, page
from streamer.host.probes import STALLED_S, Health, Probes
from streamer.host.reported import REPORTED, StatsCollector
from streamer.host.stats import Stats
from streamer.settings import CommonSettings, StreamerSettings
from streamer.worker import StreamerWorker
from testkit.ports import lasting_port
from testkit.serving import PATIENCE_S, at_work, servers_away


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def probes() -> Iterator[Probes]:
    """A server of a worker that has not begun."""
    made = Probes(Health("streamer"), "127.0.0.1", lasting_port())
    yield made
    made.close()


def test_ready_and_live_are_different_questions(probes: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    health = probes.health
    assert get(probes.port, "/livez")[0] == 200
    status, body = get(probes.port, "/readyz")
    assert (status, orjson.loads(body)["why"]) == (503, "starting: waits for Kafka, Redis or its partitions")
    health.ready = True
    assert get(probes.port, "/readyz")[0] == 200
    health.waiting_for = lambda: True
    status, body = get(probes.port, "/readyz")
    assert (status, "away" in orjson.loads(body)["why"], get(probes.port, "/livez")[0]) == (503, True, 200)
    health.waiting_for = lambda: False
    health.ending = lambda: True
    assert orjson.loads(get(probes.port, "/readyz")[1]) == {"ok": False, "room": "streamer", "why": "ending"}
    now = time.monotonic()
    monkeypatch.setattr("streamer.host.probes.time.monotonic", lambda: now + STALLED_S + 1)
    assert get(probes.port, "/livez")[0] == 503
    assert get(probes.port, "/")[0] == 404


def test_metrics_are_what_the_catalogue_says_and_carry_no_stream(probes: Probes) -> None:
    stats = Stats(None, None, "w", "streamer")  # type: ignore[arg-type]  # nothing is written here
    stats.counts["points_in"] = 7
    stats.facts = {"topic": "metrics", "group": "streamer", "partitions": [0, 2], "lag": {"0": 5, "2": 0}, "lag_s": 1.5}
    probes.add(StatsCollector("streamer", 4, [stats]))
    text = get(probes.port, "/metrics")[1].decode()
    samples = {
        (s.name, tuple(v for _, v in sorted(s.labels.items()))): s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
    }
    assert samples["anomalyllm_streamer_points_total", ()] == 7
    assert samples["anomalyllm_partitions_owned", ("streamer", "metrics")] == 2
    assert samples["anomalyllm_partitions", ("streamer", "metrics")] == 4
    assert samples["anomalyllm_lag_records", ("streamer", "0", "metrics")] == 5
    assert samples["anomalyllm_lag_seconds", ("streamer", "metrics")] == 1.5
    known = {metric.name for metric in catalogue()}
    shown = {f.name for f in text_string_to_metric_families(text) if f.name.startswith("anomalyllm_")}
    assert {name.removesuffix("_total") for name in shown} <= {name.removesuffix("_total") for name in known}
    labels = {label for metric in catalogue() for label in metric.labels}
    assert "stream" not in labels
    assert "process_cpu_seconds_total" in text


def test_every_room_is_documented_and_the_page_is_of_this_code() -> None:
    assert set(REPORTED) == {*WORKERS, "sink"}
    names = [metric.name for metric in catalogue()]
    assert len(names) == len(set(names))
    assert all(metric.text.endswith(".") or "0:" in metric.text or ";" in metric.text for metric in catalogue())
    written = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert page() == written.read_text(), "python -m streamer.host.metrics_page > docs/metrics.md"


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="port of its own"):
            Probes(Health("trainer"), "127.0.0.1", taken.getsockname()[1])


def test_three_workers_of_a_host_have_three_ports() -> None:
    assert metrics_ports(CommonSettings(metrics_port=0)) == {}
    assert list(metrics_ports(CommonSettings(metrics_port=9000)).values()) == [9000, 9001, 9002]
    assert len(set(metrics_ports(CommonSettings()).values())) == 3


async def test_a_worker_whose_servers_are_away_lives_and_is_not_ready(tmp_path: Path) -> None:
    async with servers_away(tmp_path) as (_, settings):
        port = lasting_port()
        given = StreamerSettings.model_validate({**settings.model_dump(), "metrics_port": port})
        async with at_work(StreamerWorker(given)):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        status, body = await asyncio.to_thread(get, port, "/readyz")
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
            assert status == 503
            assert "waits" in orjson.loads(body)["why"]
            assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
        with pytest.raises(OSError, match="refused"):
            get(port, "/livez")
