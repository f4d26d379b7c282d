"""What a worker says over HTTP: /metrics for Prometheus, /livez and /readyz for whoever keeps it running.

The server stands in a thread of its own, so that it still answers when the worker's event loop does not. It serves no
more than these three pages, to whoever can reach its port: by default that is this host alone.
"""

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import orjson
import structlog
from prometheus_client import PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector, CollectorRegistry

from streamer.errors import ConfigError
from streamer.host.reported import LOOP, READY, build_info
from streamer.metrics import MEASURED
from streamer.version import installed_version

log = structlog.get_logger(__name__)
# A loop that gives no sign for so long will give none any more: it beats once a second, whatever it waits for.
STALLED_S = 60.0
# A peer that says nothing must not hold a thread.
REQUEST_S = 5.0
Respond = Callable[[str, list[tuple[str, str]]], object]


class Health:
    """Whether a worker lives and works; written by its loop, read by the server's threads."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.ready = False
        self.waiting_for: Callable[[], bool] = lambda: False
        self.ending: Callable[[], bool] = lambda: False
        self._beat = self._turn = time.monotonic()

    def beat(self) -> None:
        """The event loop runs."""
        self._beat = time.monotonic()

    def turned(self) -> None:
        """The worker's loop has come round."""
        self._turn = time.monotonic()

    @property
    def turn_age_s(self) -> float:
        """Since the loop last came round."""
        return time.monotonic() - self._turn

    def live(self) -> tuple[bool, str]:
        """Whether it is of use to let it go on, and why (not)."""
        age = time.monotonic() - self._beat
        if age > STALLED_S:
            return False, f"the event loop has not run for {age:.0f} s"
        return True, "the event loop runs"

    def works(self) -> tuple[bool, str]:
        """Whether it does its work at this moment, and why not."""
        if self.ending():
            return False, "ending"
        if not self.ready:
            return False, "starting: waits for Kafka, Redis or its partitions"
        if self.waiting_for():
            return False, "waits for a server that is away"
        alive, why = self.live()
        return alive, "at work" if alive else why


class _HealthCollector(Collector):
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        labels = ["room"]
        loop, ready = GaugeMetricFamily(*LOOP, labels=labels), GaugeMetricFamily(*READY, labels=labels)
        loop.add_metric([self._health.room], self._health.turn_age_s)
        ready.add_metric([self._health.room], float(self._health.works()[0]))
        return [loop, ready, build_info(installed_version(), self._health.room)]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *arguments: Any) -> None:
        """One line a probe would drown the log."""


class Probes:
    """The server; `collectors` are added when the worker has something to tell."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        """Listen. Raises ConfigError where the address cannot be taken."""
        self.health = health
        self.registry = CollectorRegistry()
        for collector in (*MEASURED, _HealthCollector(health)):
            self.registry.register(collector)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._metrics = make_wsgi_app(self.registry)
        try:
            self._server = make_server(host, port, self._answer, ThreadingWSGIServer, _Handler)
        except OSError as error:
            raise ConfigError(
                f"--metrics-port: {host}:{port} cannot be listened on: {error}. Give this worker a port of its own, "
                "or 0 for none"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        log.info("metrics and probes", address=f"http://{host}:{self.port}/metrics")

    def add(self, collector: Collector) -> None:
        """One more source of metrics."""
        self.registry.register(collector)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, respond)
            return answer
        checks = {"/livez": self.health.live, "/readyz": self.health.works}
        if path not in checks:
            return _page(respond, "404 Not Found", {"pages": ["/metrics", *checks]})
        well, why = checks[path]()
        status = "200 OK" if well else "503 Service Unavailable"
        return _page(respond, status, {"ok": well, "room": self.health.room, "why": why})


def _page(respond: Respond, status: str, body: dict[str, Any]) -> list[bytes]:
    respond(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [orjson.dumps(body)]
