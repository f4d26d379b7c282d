"""Hostile messages among good ones, against clean ones: `python -m bench.fuzz` (four minutes).

Streamer and detector run in this process between the embedded broker and Valkey; all records are in Kafka before they
start. Prints the figures that docs/guarantees.md quotes, and ends with status 1 when a promise is broken.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import uuid
from pathlib import Path

import structlog

from streamer.host.embedded import EmbeddedStack
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.fuzzing import Fuzzed, fuzz

FLAT = 1.25  # resident memory at the end of a run against two fifths of it: caches have filled by then
HALF = 0.5  # of the clean rate


async def _run(folder: Path, seed: int, hostile: int, good: int) -> Fuzzed:
    stack = EmbeddedStack(folder)
    await stack.start()
    try:
        unique = uuid.uuid4().hex[:8]
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, topic_prefix=f"{unique}.", namespace=unique,
            assignment="all", state_dir=folder / "state",
        )  # fmt: skip
        await provision(settings)
        return await fuzz(settings, seed, hostile, good)
    finally:
        await stack.stop()


def _say(name: str, ran: Fuzzed) -> float:
    rate = ran.records / ran.seconds
    memory = " → ".join(f"{mb:.0f}" for mb in ran.rss_mb)
    print(f"{name}: {ran.records} records in {ran.seconds:.1f} s, {rate:.0f} a second; resident MB {memory}")
    return rate


async def _main(seed: int, hostile: int, good: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        whole = hostile + good
        clean = _say("clean ", await _run(Path(folder) / "clean", seed, 0, whole))
        ran = await _run(Path(folder) / "fuzzed", seed, hostile, good)
    rate = _say("fuzzed", ran)
    print(f"dead letters: {ran.reasons.total()}: {dict(ran.reasons.most_common())}")
    print(f"good streams: all judged to their end; hostile records unanswered: {len(ran.unanswered)}")
    print(f"rate: {rate / clean:.2f} of clean")
    held = not ran.unanswered and not ran.reasons["internal"]
    held = held and rate >= HALF * clean and ran.rss_mb[-1] <= FLAT * ran.rss_mb[1]
    print("all promises hold" if held else "A PROMISE IS BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile", type=int, default=100_000)
    parser.add_argument("--good", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(asyncio.run(_main(given.seed, given.hostile, given.good)))
