"""The records of a chaos run, the same in every run: streams with students, then live points with anomalies.

The students are fitted once, and in force from the first live point to the last: a fit depends on when it is made, and
then incidents could not be compared. Nor is silence judged, for it is measured by when records are received.
Shapes: S slots
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import redis.asyncio
from aiokafka import AIOKafkaProducer

from detector.live.settings import WorkerSettings
from streamer.contracts import ModelRecord
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.detecting import PAST, STEP_MS, announce, detector_settings, normal, send
from testkit.serving import producing, read_all, running, until

CHUNK = 8  # slots a record
ANOMALY_EVERY, ANOMALY_SLOTS, FIRST_ANOMALY = 100, 20, 40
NEVER = 1 << 20  # slots: no stream asks for training
SETTINGS_OF_DETECTORS: dict[str, object] = {
    "no_data_min_s": 86_400, "min_history": NEVER, "refit_slots": NEVER, "update_slots": NEVER
}  # fmt: skip


@dataclass
class Scene:
    """`live` slots of each stream come after its history."""

    streams: Sequence[str]
    live: int
    start_ms: int
    models: list[ModelRecord] = field(default_factory=list)

    def values(self, number: int) -> np.ndarray:
        """Live values of one stream, (S,)."""
        values_S = normal(PAST, self.live, seed=number % 7)
        for begin in range(FIRST_ANOMALY + number % 40, self.live - 60, ANOMALY_EVERY):
            values_S[begin : begin + ANOMALY_SLOTS] += 20.0 + number % 20
        return values_S

    def rounds(self) -> Iterator[list[tuple[str, int, np.ndarray]]]:
        """One record of every stream at a time: stream, first live slot, values."""
        every = [self.values(number) for number in range(len(self.streams))]
        for at in range(0, self.live, CHUNK):
            yield [(stream, at, own[at : at + CHUNK]) for stream, own in zip(self.streams, every, strict=True)]

    async def history(self, settings: CommonSettings, client: redis.asyncio.Redis, producer: AIOKafkaProducer) -> None:
        """Settings of all streams, and what is learnt from; returns when a streamer has it in the windows."""
        for stream in self.streams:
            await producer.send(settings.topic("streams"), orjson.dumps({"interval_s": 0.1}), key=stream.encode())
        await producer.flush()
        past = {seed: normal(0, PAST, seed=seed) for seed in range(7)}
        for number, stream in enumerate(self.streams):
            await send(producer, settings, stream, self.start_ms, 0, past[number % 7], history=True)
        keys = Keys(settings.namespace)

        async def written() -> bool:
            headers = await read_headers(client, keys, list(self.streams))
            return len(headers) == len(self.streams) and all(h.hi - h.lo + 1 == PAST for h in headers.values())

        await until(written)

    async def prepare(self, settings: CommonSettings, client: redis.asyncio.Redis) -> WorkerSettings:
        """Topics, history, and the students in force; returns the settings of detectors. No worker runs afterwards."""
        await provision(settings)
        own = detector_settings(settings, **SETTINGS_OF_DETECTORS)
        async with producing(settings) as producer:
            async with running(settings, assignment="all"):
                await self.history(settings, client, producer)
            if not self.models:
                await announce(producer, own, client, self.streams)
                records = await read_all(settings, "models")
                self.models = [ModelRecord.model_validate_json(record.value) for record in records]
            for record in self.models:
                assert record.promoted is not None
                # so many points that no history has twice of them
                known = record.promoted.model_copy(update={"points": NEVER})
                made = record.model_copy(update={"promoted": known}).model_dump_json().encode()
                await producer.send(settings.topic("models"), made, key=record.stream.encode())
            await producer.flush()
        return own

    async def publish(
        self, settings: CommonSettings, producer: AIOKafkaProducer, pace_s: float, hurry: asyncio.Event
    ) -> None:
        """All live points, a round every `pace_s` seconds until `hurry` is set."""
        for number, records in enumerate(self.rounds()):
            sent = []
            for stream, first, values in records:
                at = self.start_ms + (PAST + first) * STEP_MS
                rows = [[at + k * STEP_MS, float(value)] for k, value in enumerate(values)]
                body = orjson.dumps({"stream": stream, "points": rows})
                sent.append(await producer.send(settings.topic("metrics"), body, key=stream.encode()))
                if number and not hurry.is_set():
                    await asyncio.sleep(pace_s / len(records))
            await asyncio.gather(*sent)
