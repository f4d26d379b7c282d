"""Whoever may write to `windows` and `models` can spoil no worker: what no worker of ours writes is passed over."""

import orjson
import pytest
import redis.asyncio

from streamer.contracts import ModelRecord, ModelRef
from streamer.kafka.client import header
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.detecting import PAST, detecting, normal, ready, states
from testkit.hostile import windows_message
from testkit.serving import read_all, until

pytestmark = pytest.mark.kafka


async def test_hostile_windows_and_models_neither_stop_nor_deafen_the_detector(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        windows, home = settings.topic("windows"), home_partition("a", settings.partitions)
        head = (await read_headers(redis_client, Keys(settings.namespace), ["a"]))["a"]
        like_it = {"interval_ns": head.interval_ns, "phase_ns": head.phase_ns, "grid_version": head.grid_version}
        fitting = {**like_it, "first_slot": head.hi + 1}
        hostile = [
            windows_message(slots=-3, channels=-1),
            windows_message(seen_ms=2**63 - 1),
            windows_message(**{**fitting, "seq": head.seq, "channels": 7}),  # other channels
            windows_message(["a", "b"])[:-4],
        ]
        unknown = [
            windows_message(**{**fitting, "seq": 2**61}),  # deaf to all that follow
            windows_message(**{**like_it, "seq": 2**61, "first_slot": head.hi + 10**7}),  # a buffer of 40 MB and more
        ]
        # Numbers of grids have no order: this is passed over as what is left of an earlier one.
        older = [windows_message(**{**fitting, "seq": 1, "grid_version": 99})]
        for raw in hostile + unknown + older:
            await run.producer.send_and_wait(windows, raw, partition=home)
        stranger = next(name for name in "bcdefgh" if home_partition(name, settings.partitions) != home)
        await run.producer.send_and_wait(windows, windows_message([stranger]), partition=home)

        good = ModelRef(
            version="v", uri="x.safetensors", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 9), points=9
        )
        record = ModelRecord(stream="a", promoted=good, announced_at="now").model_dump(mode="json")
        outside = {**record, "promoted": {**record["promoted"], "uri": "../../etc/passwd"}}
        bad_models = [orjson.dumps(outside), orjson.dumps({**record, "stream": "b"}), b"{", orjson.dumps([record])]
        absent = orjson.dumps(record)  # well formed, but the store has no such file: the student in force stays
        for raw in [*bad_models, absent]:
            await run.producer.send_and_wait(settings.topic("models"), raw, key=b"a")

        values = normal(PAST, 60)
        values[50:] += 30.0
        await run.live("a", PAST, values)

        async def opened() -> bool:
            return (await states(settings, "a"))[:1] == ["open"]

        await until(opened)
        assert run.detector.stats.counts["changes_unknown"] == len(unknown)
        model = run.detector.bank.model_of("a")
        assert model is not None
        assert model.version == run.version
        await run.stop_detector()
        async with detecting(run.own) as again:  # what is read again at every start is told once
            await until(lambda: _has_models(again))
        dead = await read_all(settings, "dead-letters")
        by_topic = {
            topic: {r.value for r in dead if header(r, "topic") == settings.topic(topic)}
            for topic in ("windows", "models")
        }
        assert by_topic["models"] == set(bad_models)
        assert by_topic["windows"] == {*hostile, windows_message([stranger])}
        assert len([r for r in dead if header(r, "topic") == settings.topic("models")]) == len(bad_models)


async def _has_models(detector: object) -> bool:
    following = getattr(detector, "following", None)
    return following is not None and "a" in following.models.known and not following._bad_models
