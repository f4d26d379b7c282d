"""Silence as the detector finds it, between real servers and with the real streamer: what is called silent, and what not.

The streamer's clock, by which it says up to when it has received everything, is in the test's hands: however long the
machine takes, a silence lasts as long as the test says. One slot is one second.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from detector.incidents.silence import COMING_BACK_S
from detector.live.worker import DetectorWorker
from streamer.contracts import AnomalyEvent
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from testkit.detecting import detecting, detector_settings, events
from testkit.serving import producing, running, until

pytestmark = pytest.mark.kafka
LIMIT = 5  # seconds of silence that are told
MANY = ["a", "b", "c", "d", "e"]


class Clock:
    """What the streamer takes for the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("streamer.received.time", made)
    return made


class Plant:
    """Streams, a streamer and a detector that can be stopped and started."""

    def __init__(self, settings: CommonSettings, producer: AIOKafkaProducer, clock: Clock) -> None:
        self.settings = settings
        self.producer = producer
        self.clock = clock
        self.began_ms = (round(time.time()) - 3600) * 1000
        self.streaming = AsyncExitStack()
        self.detecting = AsyncExitStack()
        self.detector: DetectorWorker

    async def start_streamer(self, assignment: str = "all") -> None:
        await self.streaming.enter_async_context(running(self.settings, assignment=assignment))

    async def start_detector(self) -> None:
        made = detector_settings(self.settings, no_data_min_s=LIMIT, min_history=8192)
        self.detector = await self.detecting.enter_async_context(detecting(made))

        async def up() -> bool:
            return hasattr(self.detector, "watch")

        await until(up)

    async def send(self, second: int, streams: Sequence[str], value: object = 1.5, slots: int = 1) -> None:
        """A point of each at this second, or the newest so many as one record."""
        for stream in streams:
            rows = [[self.began_ms + s * 1000, value] for s in range(second - slots + 1, second + 1)]
            await self.record(second, stream, {"points": rows})

    async def record(self, second: int, stream: str, body: dict[str, object]) -> None:
        await self.producer.send_and_wait(
            self.settings.topic("metrics"), orjson.dumps({"stream": stream, **body}), key=stream.encode(),
            timestamp_ms=self.began_ms + second * 1000,
        )  # fmt: skip

    async def pass_second(self, partitions: Sequence[int] = (0, 1, 2, 3)) -> None:
        """A second later; returns when the detector has read all that had come (to these partitions) by then."""
        self.clock.now += 1

        async def told() -> bool:
            silence, want = self.detector.watch.silence, self.clock.now * 1000
            return all((silence.received_ms(p) or 0) >= want for p in partitions)

        await until(told)
        async with self.detector.owner.lock:  # what has read it looks for silence in the same turn
            return

    async def told(self) -> list[tuple[str, str]]:
        """Stream and state of all events on silence."""
        return [(e.subject, e.data.state) for e in await self.events()]

    async def events(self) -> list[AnomalyEvent]:
        return [event for event in await events(self.settings) if event.data.kind == "no_data"]


@asynccontextmanager
async def plant(settings: CommonSettings, clock: Clock, streams: Sequence[str]) -> AsyncIterator[Plant]:
    async with producing(settings) as producer:
        made = Plant(settings, producer, clock)
        given = orjson.dumps({"interval_s": 1, "no_data_after": LIMIT})
        for stream in streams:
            await producer.send_and_wait(settings.topic("streams"), given, key=stream.encode())
        async with made.streaming, made.detecting:
            await made.start_streamer()
            await made.start_detector()
            yield made


async def test_a_stream_that_stops_is_told_once_whoever_restarts(settings: CommonSettings, clock: Clock) -> None:
    async with plant(settings, clock, MANY) as run:
        for second in range(3):
            await run.send(second, MANY)
            await run.pass_second()
        for second in range(3, 10):
            await run.send(second, MANY[1:])
            await run.pass_second()
        (opened,) = await run.events()
        assert (opened.subject, opened.data.state, opened.data.slots) == ("a", "open", LIMIT)
        assert opened.data.reason == "a has sent nothing for 5 s (5 intervals)"
        await run.detecting.aclose()
        await run.start_detector()
        for second in range(10, 30):
            await run.send(second, MANY[1:])
            await run.pass_second()
        assert not run.detector.watch.silence.watches("a")  # found silent once more, and told before
        await run.send(30, MANY)
        await run.pass_second()
        assert await run.told() == [("a", "open"), ("a", "resolved")]


async def test_a_silent_pipeline_blames_no_stream(settings: CommonSettings, clock: Clock) -> None:
    async with plant(settings, clock, MANY) as run:
        for second in range(3):
            await run.send(second, MANY)
            await run.pass_second()
        for _ in range(20):
            await run.pass_second()
        assert run.detector.watch.silence.stalled
        await run.send(23, MANY[:1])  # they come back one after the other
        for _ in range(3):
            await run.pass_second()
        await run.send(26, MANY)
        await run.pass_second()
        assert not run.detector.watch.silence.stalled
        assert await run.told() == []


@pytest.mark.slow(7)
async def test_a_worker_that_stood_blames_no_stream(
    settings: CommonSettings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two streamers is away (killed, frozen, or its Redis or Kafka is), then the detector is."""
    of_one = [stream for stream in "abcdefghijkl" if home_partition(stream, 4) < 2]
    of_other = [stream for stream in "abcdefghijkl" if home_partition(stream, 4) >= 2]
    both, last = of_one + of_other, of_other[-1]
    async with plant(settings, clock, both) as run:
        for second in range(3):
            await run.send(second, both)
            await run.pass_second()
        await run.streaming.aclose()
        await run.start_streamer("0,1")
        monkeypatch.setattr("detector.live.silence_watch.UNMARKED_S", 0.5)
        for second in range(3, 15):
            await run.send(second, of_one)
            await run.pass_second((0, 1))
        await until(lambda: _blind(run, 2))
        monkeypatch.setattr("detector.live.silence_watch.UNMARKED_S", 60.0)
        await run.start_streamer("2,3")
        for second in range(15, 25):  # publishers come back one after the other
            await run.send(second, of_one + of_other[: second - 15])
            await run.pass_second()
        assert await run.told() == []
        await run.detecting.aclose()
        for second in range(25, 37):  # a backlog of twelve seconds
            await run.send(second, both)
            clock.now += 1
        await run.start_detector()
        await run.pass_second()
        assert await run.told() == []
        # whether the streamer marked the backlog in one step, after which clients may take their time, is chance
        for second in range(37, 45 + round(COMING_BACK_S)):
            await run.send(second, both[:-1])
            await run.pass_second()
        assert await run.told() == [(last, "open")]


async def _blind(run: Plant, partitions: int) -> bool:
    return run.detector.watch.blind() == partitions


async def test_what_comes_in_bursts_is_not_silent(settings: CommonSettings, clock: Clock) -> None:
    async with plant(settings, clock, ["a", "b"]) as run:
        for second in range(1, 31):
            await run.send(second, ["b"])
            if second % 10 == 0:
                await run.send(second, ["a"], slots=10)
            await run.pass_second()
        assert await run.told() == []
        for second in range(31, 53):  # and then it ends
            await run.send(second, ["b"])
            await run.pass_second()
        assert await run.told() == [("a", "open")]
        await run.producer.send_and_wait(settings.topic("streams"), None, key=b"a")

        async def over() -> bool:
            return await run.told() == [("a", "open"), ("a", "resolved")]

        await until(over)
        gone = (await run.events())[-1].data
        assert gone.end_reason == "deleted"
        assert gone.reason.startswith("a was deleted, after ")


async def test_who_sends_what_is_refused_is_not_silent(settings: CommonSettings, clock: Clock) -> None:
    async with plant(settings, clock, ["a", "b"]) as run:
        await run.send(0, ["a", "b"])
        await run.pass_second()
        for second in range(1, 11):
            await run.send(second, ["b"])
            await run.send(second, ["a"], value="n/a")
            await run.pass_second()
        assert await run.told() == []
        for second in range(11, 18):
            await run.send(second, ["b"])
            await run.pass_second()
        assert await run.told() == [("a", "open")]


async def test_a_channel_that_ends_and_a_stream_of_nulls_are_told(settings: CommonSettings, clock: Clock) -> None:
    async with plant(settings, clock, ["a", "b"]) as run:
        for second in range(40):
            both = {"user": 1.0, "system": 2.0}
            values = both if second < 12 or second >= 30 else {"user": 1.0}
            await run.record(second, "a", {"ts": run.began_ms + second * 1000, "values": values})
            await run.send(second, ["b"], value=None if 12 <= second < 30 else 3.0)
            await run.pass_second()
        assert sorted(await run.told()) == [("a", "open"), ("a", "resolved"), ("b", "open"), ("b", "resolved")]
        of = {(e.subject, e.data.state): e.data for e in await run.events()}
        assert [share.channel for share in of["a", "open"].channels] == ["system"]
        assert (
            of["a", "open"].reason == "system of a has sent nothing for 6 s (6 intervals), while other channels go on"
        )
        assert of["a", "resolved"].reason == "system of a sends again after 18 s without data"
        assert of["b", "open"].reason == "b has sent nothing but nulls for 6 s (6 intervals)"
        assert of["b", "resolved"].reason == "b sends again after 18 s without data"
