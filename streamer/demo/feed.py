"""The demo as a publisher: host metrics and control streams to `metrics` at 10 Hz, their settings to `streams`."""

import asyncio
import time
from collections.abc import Mapping

import orjson
from aiokafka import AIOKafkaProducer

from streamer.contracts import StreamSettings
from streamer.demo.control_streams import INJECTED, INTERVAL_S, UNTOUCHED, Control
from streamer.demo.host_metrics import HostMetrics
from streamer.kafka.publishing import HISTORY_HEADERS
from streamer.placement import home_partition
from streamer.settings import CommonSettings

# Slots of the control streams published as history before the first live one: five minutes.
HISTORY_SLOTS = 3_000
POINTS_A_BATCH = 500
CONTROLS = (INJECTED, UNTOUCHED)


class Feed:
    """Publishes until cancelled. `latest` holds the newest value of each stream's first channel."""

    def __init__(self, producer: AIOKafkaProducer, settings: CommonSettings) -> None:
        self._producer = producer
        self._settings = settings
        self._host = HostMetrics()
        self._anomaly: tuple[int, int] | None = None
        self._with_host = False
        self._raw: dict[str, float] = {}
        self.latest: dict[str, float] = {}
        self.units = {stream.name: stream.unit for stream in self._host.streams}
        self.units |= {control.name: "" for control in CONTROLS}
        self._counters = {stream.name for stream in self._host.streams if stream.kind == "counter"}

    @property
    def host_streams(self) -> list[str]:
        """Names of the host's streams."""
        return [stream.name for stream in self._host.streams]

    async def publish_settings(self, *, host_paused: bool) -> None:
        """What a user would set by `anomalyllm streams set`: interval, kind, and what is too small to matter.

        `host_paused` is a maintenance of the host: its windows are kept and learnt from, nothing alerts.
        """
        chosen = {
            stream.name: StreamSettings(
                interval_s=INTERVAL_S,
                kind=stream.kind,
                direction="up",
                floor_abs=stream.floor,
                alert_budget=stream.budget,
                labels=dict(stream.labels),
                paused=host_paused,
            )
            for stream in self._host.streams
        }
        for control in CONTROLS:
            chosen[control.name] = StreamSettings(interval_s=INTERVAL_S, kind="gauge")
        for name, value in chosen.items():
            body = value.model_dump_json(exclude_unset=True).encode()
            await self._producer.send(self._settings.topic("streams"), body, key=name.encode())
        await self._producer.flush()

    def begin_host(self) -> None:
        """From now on the host's metrics, too."""
        self._host.sample()
        self._with_host = True

    async def run(self) -> None:
        """History of the control streams, then live, a slot at a time: the controls, and the host once it may."""
        tick = round(time.time() / INTERVAL_S)
        for control in CONTROLS:
            for start in range(tick - HISTORY_SLOTS, tick, POINTS_A_BATCH):
                await self._send_control(control, start, min(start + POINTS_A_BATCH, tick), history=True)
        done = tick
        while True:
            await asyncio.sleep(max(0.0, done * INTERVAL_S - time.time()))
            # A late tick publishes all control slots it owes; the host's past cannot be read any more: a gap.
            tick = max(done + 1, round(time.time() / INTERVAL_S) + 1)
            for control in CONTROLS:
                await self._send_control(control, done, tick, history=False)
            for name, values in self._host.sample().items() if self._with_host else ():
                point = {"stream": name, "ts": _milliseconds(tick - 1), "values": values}
                await self._send(name, orjson.dumps(point))
                self._show(name, values)
            done = tick

    def inject(self, slots: int) -> None:
        """Put the known anomaly into the next `slots` slots of the one control stream."""
        first = round(time.time() / INTERVAL_S) + 1
        self._anomaly = (first, first + slots)

    def _show(self, name: str, values: Mapping[str, float]) -> None:
        raw = next(iter(values.values())) if name != "host.disk" else sum(values.values())
        before = self._raw.get(name, raw)
        self._raw[name] = raw
        self.latest[name] = raw - before if name in self._counters else raw

    async def _send_control(self, control: Control, start: int, stop: int, *, history: bool) -> None:
        values = control.values(start, stop, self._anomaly if control is INJECTED else None)
        points = [[_milliseconds(start + at), value] for at, value in enumerate(values.tolist())]
        await self._send(control.name, orjson.dumps({"stream": control.name, "points": points}), history)
        self.latest[control.name] = points[-1][1]

    async def _send(self, stream: str, body: bytes, history: bool = False) -> None:
        await self._producer.send(
            self._settings.topic("metrics"),
            body,
            key=stream.encode(),
            partition=home_partition(stream, self._settings.partitions, self._settings.partitioner),
            headers=HISTORY_HEADERS if history else [],
        )


def _milliseconds(slot: int) -> int:
    return round(slot * INTERVAL_S * 1000)
