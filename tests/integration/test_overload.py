"""Ten times more than can be scored, between real servers: a short form of what `detector.live.overload` promises."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import psutil
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from detector.live.worker import DetectorWorker
from detector.model.banks import StudentBank
from detector.model.interface import Segment, SegmentScore
from streamer.settings import CommonSettings
from testkit.detecting import STEP_MS, detecting, detector_settings, events, normal, send, start_of
from testkit.serving import PATIENCE_S, producing, running, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow(25)]
STREAMS = [f"s{number}" for number in range(20)]
A_SLOT_S = 0.001  # what scoring a slot takes here, however many are scored together: 1 000 a second
LOAD_S = float(
    os.environ.get("OVERLOAD_S", "6")
)  # the long form: OVERLOAD_S=300 pytest -s tests/integration/test_overload.py
TICK_S, SLOTS = 0.05, 25  # 20 streams x 25 slots every 50 ms: 10 000 a second
ROUND = 10_000  # slots after which values repeat
MORE_MB = 200  # resident, of streamer, detector and test together
FETCH, MOST = 8, 100  # messages


class SlowBank(StudentBank):
    """Scores as ever, in its own time; notes what was scored."""

    def __init__(self) -> None:
        super().__init__()
        self.scored: Counter[str] = Counter()
        self.asked: list[bool] = []

    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """Takes A_SLOT_S a slot."""
        for segment in segments:
            self.scored[segment.stream] += segment.count or 0
        time.sleep(A_SLOT_S * sum(segment.count or 0 for segment in segments))
        return super().score(segments)

    def ask_teacher(self, wanted: bool) -> None:
        """Notes it."""
        self.asked.append(wanted)


async def _load(
    producer: AIOKafkaProducer, settings: CommonSettings, start: int, first: int, enough: Callable[[], bool]
) -> int:
    """Twenty streams, until it is enough; the first one is far too high after a while. Returns the slot after the last."""
    at, ends, fails = first, time.monotonic() + LOAD_S, time.monotonic() + LOAD_S + PATIENCE_S
    # a slow machine sends fewer slots in that time: enough of them must be high for every 64th to be seen
    while time.monotonic() < ends or at - first < 3000 or not enough():
        assert time.monotonic() < fails, "not every stream is judged"
        values = normal(at % ROUND, SLOTS)
        high = values + 30.0 if at - first > 1000 else values
        tick = time.monotonic() + TICK_S
        await asyncio.gather(
            *(send(producer, settings, s, start, at, high if s == STREAMS[0] else values) for s in STREAMS)
        )
        at += SLOTS
        await asyncio.sleep(max(0.0, tick - time.monotonic()))  # the rate of the load, nothing is proved by it
    return at


async def test_every_stream_is_judged_and_it_heals(settings: CommonSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, sizes, levels = SlowBank(), [], []
    monkeypatch.setattr("detector.live.worker.open_bank", lambda _: bank)
    monkeypatch.setattr("detector.live.worker.FETCH_MESSAGES", FETCH)
    monkeypatch.setattr("detector.live.overload.COALESCED_MESSAGES", MOST)
    monkeypatch.setattr("detector.live.overload.BEHIND_S", 0.5)
    monkeypatch.setattr("detector.live.overload.STEP_S", 1.0)
    start = start_of(round((LOAD_S + PATIENCE_S) * 600) + 2000)
    async with producing(settings) as producer, running(settings):
        for stream in STREAMS:
            given = orjson.dumps({"interval_s": STEP_MS / 1000})
            await producer.send_and_wait(settings.topic("streams"), given, key=stream.encode())
        async with detecting(detector_settings(settings, min_history=8192)) as detector:
            await until(lambda: _up(detector))
            decide = detector.batches.decide

            async def noting(records: Mapping[int, Sequence[ConsumerRecord]]) -> Any:
                sizes.append(sum(len(own) for own in records.values()))
                levels.append(detector.overload.level)
                return await decide(records)

            monkeypatch.setattr(detector.batches, "decide", noting)
            at = 0
            for stream in STREAMS:
                await send(producer, settings, stream, start, 0, normal(0, 20))
            await until(lambda: _judged(detector, start, 20))
            before, rss = bank.scored.copy(), psutil.Process().memory_info().rss
            coarse: Counter[str] = Counter()  # what had been scored when judging became coarser

            def enough() -> bool:
                if detector.overload.level >= 2 and not coarse:
                    coarse.update(bank.scored)
                return bool(coarse) and len(bank.scored - coarse) == len(STREAMS)

            at = await _load(producer, settings, start, 20, enough)
            during = bank.scored - before
            more_mb = (psutil.Process().memory_info().rss - rss) / 1e6
            print(
                f"{at} slots of {len(STREAMS)} streams in {LOAD_S:.0f} s, levels {Counter(levels)}, {more_mb:.0f} MB more"
            )
            assert more_mb < MORE_MB
            assert sum(during.values()) < 0.5 * (at - 20) * len(STREAMS)
            await until(lambda: _judged(detector, start, at - 1))
            await until(lambda: _healed(detector))
            assert bank.asked[-1]
            assert detector.stats.counts["overloads"] >= 1  # a slow machine may fall behind twice
            before = bank.scored.copy()
            for stream in STREAMS:
                await send(producer, settings, stream, start, at, normal(at % ROUND, 20))
            await until(lambda: _judged(detector, start, at + 20))
            assert set((bank.scored - before).values()) == {20}  # every slot again
            assert max(sizes) <= MOST
    opened = [event.subject for event in await events(settings) if event.data.state == "open"]
    assert STREAMS[0] in opened
    assert np.mean([stream == STREAMS[0] for stream in opened]) >= 0.5


async def _up(detector: DetectorWorker) -> bool:
    return hasattr(detector, "batches")


async def _judged(detector: DetectorWorker, start: int, slots: int) -> bool:
    entries = detector.streams.entries
    return len(entries) == len(STREAMS) and all(e.scored - start // STEP_MS >= slots - 1 for e in entries.values())


async def _healed(detector: DetectorWorker) -> bool:
    return detector.overload.level == 0
