"""A run of hostile messages among good ones through real workers, and what became of each."""

import asyncio
import gc
import time
from collections import Counter
from dataclasses import dataclass, field

import orjson
import psutil

from streamer.kafka.client import header
from streamer.settings import CommonSettings
from testkit.detecting import detecting, detector_settings
from testkit.hostile import hostile_messages
from testkit.serving import NOW_MS, committed, producing, read_all, running, until

GOOD_STREAMS = 20
IN_FLIGHT = 500
FIRST = (NOW_MS - 10**9) // 1000  # slot of the first good point: one a second


@dataclass
class Fuzzed:
    """Figures of one run."""

    seconds: float  # of the workers, everything being in Kafka before they start
    records: int
    reasons: Counter[str] = field(default_factory=Counter)  # dead letters by reason
    unanswered: list[tuple[str, bytes | None]] = field(
        default_factory=list
    )  # hostile (kind, value) without a dead letter
    rss_mb: list[float] = field(default_factory=list)  # of the workers' process, five times over the run


async def fuzz(settings: CommonSettings, seed: int, hostile: int, good: int) -> Fuzzed:
    """`good` records of one point each among `hostile` ones; returns when every slot of the good ones has been judged.

    Topics and keys must be unused. Raises AssertionError when it does not come to that.
    """
    wanted: Counter[tuple[str, bytes | None]] = Counter()
    topic, names = settings.topic("metrics"), [f"good{k}" for k in range(GOOD_STREAMS)]
    flying: list[asyncio.Future[object]] = []
    async with producing(settings) as producer:
        for name in names:
            await producer.send_and_wait(settings.topic("streams"), orjson.dumps({"interval_s": 1}), key=name.encode())
        messages = hostile_messages(seed, hostile)
        total, sent = hostile + good, 0
        for at in range(total):
            if (at + 1) * good // total > sent:  # evenly among the hostile ones
                slot, of = divmod(sent, GOOD_STREAMS)
                body = {"stream": names[of], "ts": (FIRST + slot) * 1000, "value": float(slot % 9)}
                flying.append(
                    await producer.send(topic, orjson.dumps(body), key=names[of].encode(), timestamp_ms=NOW_MS)
                )
                sent += 1
            else:
                bad = next(messages)
                if bad.dead:
                    wanted[bad.kind, bad.value] += 1
                key = bad.key if bad.value is not None or bad.key is not None else b"none"
                flying.append(
                    await producer.send(topic, bad.value, key=key, headers=bad.headers, timestamp_ms=bad.stamp_ms)
                )
            if len(flying) >= IN_FLIGHT:
                await asyncio.gather(*flying)
                flying.clear()
        await asyncio.gather(*flying)
    return await _worked(settings, total, names, sent, wanted)


async def _worked(
    settings: CommonSettings, total: int, names: list[str], good: int, wanted: "Counter[tuple[str, bytes | None]]"
) -> Fuzzed:
    process = psutil.Process()
    rss: list[float] = []
    slots = [good // len(names) + (k < good % len(names)) for k in range(len(names))]
    begin = time.perf_counter()
    async with running(settings) as streamer, detecting(detector_settings(settings)) as detector:

        def share() -> float:
            counts = streamer.stats.counts if hasattr(streamer, "stats") else {}
            return counts.get("records_in", 0) / total

        async def done() -> bool:
            if share() >= (len(rss) + 1) / 5:
                gc.collect()
                rss.append(process.memory_info().rss / 2**20)
            if not hasattr(detector, "streams") or share() < 1:  # records sent home come once more
                return False
            done_with = await committed(settings)  # what was sent home is there twice
            entries = [detector.streams.entries.get(name) for name in names]
            judged = all(e is not None and e.scored >= FIRST + n - 1 for e, n in zip(entries, slots, strict=True))
            return judged and done_with >= total + streamer.stats.counts["rehomed"]

        await until(done)
        seconds = time.perf_counter() - begin
    found, reasons = Counter[bytes | None](), Counter[str]()
    for record in await read_all(settings, "dead-letters"):
        if header(record, "topic") == settings.topic("metrics"):
            found[record.value or b""] += 1
            reasons[header(record, "error") or ""] += 1
    values = Counter[bytes]()
    for (_, value), many in wanted.items():
        values[value or b""] += many
    unanswered = [(kind, value) for (kind, value) in wanted if found[value or b""] < values[value or b""]]
    return Fuzzed(seconds, total, reasons, unanswered, rss)
