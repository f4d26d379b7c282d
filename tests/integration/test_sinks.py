"""Sinks between real Kafka, real Redis and real HTTP servers: open, delivered, resolved; and what goes wrong."""

from pathlib import Path

import pytest
import redis.asyncio

from streamer.contracts import Feedback
from streamer.host.stats import read_stats
from streamer.kafka.client import header, make_consumer
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from testkit.serving import producing, read_all, send_events, until
from tests.integration.sinking import life, sinking
from tests.streamer.sinks.samples import KEY, event
from tests.streamer.sinks.servers import AlertmanagerServer, FakeServer, PagerDutyServer, serving

pytestmark = pytest.mark.kafka


def pagerduty(server: FakeServer, extra: str = "") -> str:
    return f'[sinks.pager]\ntype = "pagerduty"\nrouting_key = {{ env = "PD_KEY" }}\nurl = "{server.url}/v2/enqueue"\n{extra}\n'


def webhook(server: FakeServer, extra: str = "") -> str:
    return f'[sinks.hook]\ntype = "webhook"\nurl = "{server.url}/hook"\n{extra}\n'


def alertmanager(server: FakeServer, extra: str = "") -> str:
    return f'[sinks.am]\ntype = "alertmanager"\nurl = "{server.url}"\n{extra}\n'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PD_KEY", KEY)


def ids(server: FakeServer) -> list[str]:
    return [request.json["id"] for request in server.requests]


async def test_open_delivered_resolved(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    async with (
        serving(AlertmanagerServer()) as am,
        serving(PagerDutyServer()) as pd,
        serving(FakeServer()) as hook,
        producing(settings) as producer,
        sinking(settings, tmp_path, alertmanager(am) + pagerduty(pd) + webhook(hook)),
    ):
        opened, resolved = life("i-1")
        await send_events(producer, settings, opened)

        async def open_everywhere() -> bool:
            return len(am.requests) == len(pd.requests) == len(hook.requests) == 1

        await until(open_everywhere)
        assert pd.states == {"i-1": "triggered"}
        await producer.send_and_wait(settings.topic("anomalies"), b"not json", partition=1)
        await send_events(producer, settings, opened, resolved, resolved)

        async def over_everywhere() -> bool:
            return len(am.requests) == len(pd.requests) == len(hook.requests) == 2

        await until(over_everywhere)
        assert pd.states == {"i-1": "resolved"}
        assert ids(hook) == ["i-1:0", "i-1:1"]
        [alert] = am.alerts.values()
        assert alert["endsAt"] > alert["startsAt"]

        async def said() -> bool:
            return len(await read_all(settings, "dead-letters")) == 3  # each sink for itself

        await until(said)
        rows = {row["worker"]: row for row in await read_stats(redis_client, Keys(settings.namespace))}
        assert rows[f"hook:{settings.worker_name}"]["room"] == "sink"
    dead = await read_all(settings, "dead-letters")
    assert {record.value for record in dead} == {b"not json"}
    assert {header(record, "error") for record in dead} == {"json"}
    assert any("sink hook: not JSON" in (header(record, "message") or "") for record in dead)


async def test_a_restart_tells_nothing_again_and_goes_on(settings: CommonSettings, tmp_path: Path) -> None:
    async with serving(FakeServer()) as hook, producing(settings) as producer:
        opened, resolved = life("i-1")
        async with sinking(settings, tmp_path, webhook(hook)):
            await send_events(producer, settings, opened)

            async def told() -> bool:
                return ids(hook) == ["i-1:0"]

            await until(told)
        await send_events(producer, settings, resolved, *life("i-2"))
        async with sinking(settings, tmp_path, webhook(hook)):

            async def all_told() -> bool:
                return sorted(ids(hook)) == ["i-1:0", "i-1:1", "i-2:1"]

            await until(all_told)  # i-2 began and ended meanwhile: one message


async def test_at_its_first_start_a_sink_is_told_what_is_open(settings: CommonSettings, tmp_path: Path) -> None:
    async with serving(FakeServer()) as hook, producing(settings) as producer:
        await send_events(producer, settings, *life("over"), event("open"), event("old", historic=True))
        async with sinking(settings, tmp_path, webhook(hook)):
            await send_events(producer, settings, event("new", stream="b"))

            async def told() -> bool:
                return set(ids(hook)) >= {"open:0", "new:0"}

            await until(told)
    assert len(hook.requests) == 2


async def test_a_sink_that_is_away_holds_up_no_other_and_gets_all_when_it_is_back(
    settings: CommonSettings, tmp_path: Path
) -> None:
    async with serving(PagerDutyServer(down=503)) as pd, serving(FakeServer()) as hook, producing(settings) as producer:
        limits = "rate_limit = { messages = 1000, per = 1 }"
        async with sinking(settings, tmp_path, pagerduty(pd, limits) + webhook(hook)):
            streams = [f"s{n}" for n in range(20)]
            await send_events(producer, settings, *(event(f"i-{s}", stream=s) for s in streams))
            await send_events(producer, settings, *(event(f"i-{s}", 1, "resolved", stream=s) for s in streams[:5]))

            async def other_told() -> bool:
                return {f"i-{s}:1" for s in streams[:5]} <= set(ids(hook)) and len(hook.requests) >= 20

            await until(other_told)
            pd.down = None

            async def told() -> bool:
                return len(getattr(pd, "states", ())) == 20 and list(pd.states.values()).count("resolved") == 5

            await until(told)
    assert pd.errors == []


async def test_what_is_refused_is_dead_lettered_with_the_reason_and_others_pass(
    settings: CommonSettings, tmp_path: Path
) -> None:
    template = "template = '''{\"team\": {{ incident.labels.team | tojson }}}'''"
    async with (
        serving(FakeServer()) as hook,
        producing(settings) as producer,
        sinking(settings, tmp_path, webhook(hook, template)),
    ):
        await send_events(producer, settings, event("bad"), event("good", stream="b", labels={"team": "web"}))

        async def told() -> bool:
            return len(hook.requests) == 1 and len(await read_all(settings, "dead-letters")) == 1

        await until(told)
        await send_events(producer, settings, event("bad", 1, "resolved", labels={"team": "db"}))

        async def next_revision_told() -> bool:
            return [request.json["team"] for request in hook.requests] == ["web", "db"]

        await until(next_revision_told)
    [record] = await read_all(settings, "dead-letters")
    assert record.value == event("bad").model_dump_json().encode()
    assert (header(record, "topic"), header(record, "error")) == (settings.topic("anomalies"), "refused")
    assert "sink hook: the template failed: TypeError" in (header(record, "message") or "")


async def test_one_refused_alert_does_not_take_a_batch_with_it(settings: CommonSettings, tmp_path: Path) -> None:
    async with serving(AlertmanagerServer()) as am, producing(settings) as producer:
        # what no vendor takes: a time that is none
        await send_events(
            producer, settings, event("bad", started_at="yesterday"), event("good"), event("too", stream="c")
        )
        async with sinking(settings, tmp_path, alertmanager(am)):

            async def told() -> bool:
                return len(getattr(am, "alerts", ())) == 2 and len(await read_all(settings, "dead-letters")) == 1

            await until(told)
    [record] = await read_all(settings, "dead-letters")
    assert "it cannot be made: ValueError" in (header(record, "message") or "")


async def test_what_cannot_be_delivered_for_too_long_is_dead_lettered(settings: CommonSettings, tmp_path: Path) -> None:
    async with (
        serving(FakeServer(down=401)) as hook,
        producing(settings) as producer,
        sinking(settings, tmp_path, webhook(hook, 'give_up_after = "1s"')),
    ):
        await send_events(producer, settings, event())

        async def dead() -> bool:
            return len(await read_all(settings, "dead-letters")) == 1

        await until(dead)
    [record] = await read_all(settings, "dead-letters")
    assert header(record, "error") == "undelivered"
    assert "HTTP 401 away; nothing got through for 1 s" in (header(record, "message") or "")


async def test_a_server_that_fails_over_one_message_gets_the_others(settings: CommonSettings, tmp_path: Path) -> None:
    async with (
        serving(FakeServer(script=[(500, {}), (429, {"Retry-After": "1"})])) as hook,
        producing(settings) as producer,
        sinking(settings, tmp_path, webhook(hook)),
    ):
        await send_events(producer, settings, event("a"), event("b", stream="b"))

        async def told() -> bool:
            return len(hook.requests) == 4

        await until(told)
    assert set(ids(hook)[2:]) == {"a:0", "b:0"}


async def test_feedback_acknowledges(settings: CommonSettings, tmp_path: Path) -> None:
    async with (
        serving(PagerDutyServer()) as pd,
        producing(settings) as producer,
        sinking(settings, tmp_path, pagerduty(pd)),
    ):
        await send_events(producer, settings, event())

        async def triggered() -> bool:
            return getattr(pd, "states", {}) == {"i-1": "triggered"}

        await until(triggered)
        await producer.send_and_wait(settings.topic("feedback"), b"nonsense")
        said = Feedback(incident_id="i-1", stream="web.cpu", verdict="true")
        await producer.send_and_wait(settings.topic("feedback"), said.model_dump_json().encode())

        async def acknowledged() -> bool:
            return pd.states == {"i-1": "acknowledged"}

        await until(acknowledged)


async def test_a_flood_is_a_few_messages_and_every_end_follows(settings: CommonSettings, tmp_path: Path) -> None:
    limits = "rate_limit = { messages = 3, per = 1 }"
    async with serving(PagerDutyServer()) as pd, producing(settings) as producer:
        await send_events(producer, settings, *(event(f"i-{n}", stream=f"s{n}") for n in range(100)))
        async with sinking(settings, tmp_path, pagerduty(pd, limits)) as process:

            async def told() -> bool:
                [worker] = process.workers
                return sum(delivery.live for delivery in worker.intake.all()) == 100

            await until(told)
            assert len(pd.requests) < 20
            await send_events(producer, settings, *(event(f"i-{n}", 1, "resolved", stream=f"s{n}") for n in range(100)))

            async def over() -> bool:
                return set(pd.states.values()) == {"resolved"}

            await until(over)
    assert pd.errors == []


async def test_each_sink_has_a_position_of_its_own(settings: CommonSettings, tmp_path: Path) -> None:
    async with serving(FakeServer()) as hook, serving(AlertmanagerServer()) as am, producing(settings) as producer:
        async with sinking(settings, tmp_path, webhook(hook)):
            await send_events(producer, settings, *life("i-1"))

            async def told() -> bool:
                return len(hook.requests) >= 1 and await committed(settings, "sink.hook") == 2

            await until(told)
        assert await committed(settings, "sink.am") == 0
        async with sinking(settings, tmp_path, webhook(hook) + alertmanager(am)):

            async def read() -> bool:
                return await committed(settings, "sink.am") == 2

            await until(read)


@pytest.mark.slow(8)
async def test_two_processes_share_a_sink_and_one_goes_on_alone(settings: CommonSettings, tmp_path: Path) -> None:
    shared = settings.model_copy(update={"assignment": "group"})
    names = [f"i-{n}" for n in range(40)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with (
        serving(FakeServer()) as hook,
        producing(settings) as producer,
        sinking(shared, tmp_path / "one", webhook(hook)) as one,
    ):
        async with sinking(shared, tmp_path / "two", webhook(hook)) as two:

            async def divided() -> bool:
                return sorted(len(process.workers[0].owner.owned) for process in (one, two)) == [2, 2]

            await until(divided)
            await send_events(producer, settings, *(event(name, stream=name) for name in names))

            async def told() -> bool:
                return len(set(ids(hook))) == 40

            await until(told)
        await send_events(producer, settings, *(event(name, 1, "resolved", stream=name) for name in names))

        async def over() -> bool:
            return len(set(ids(hook))) == 80

        await until(over)
    # What was on its way when the partitions moved may come twice, as the same message.
    first = {request.headers["webhook-id"]: request.body for request in hook.requests}
    assert len(first) == 80
    assert all(first[request.headers["webhook-id"]] == request.body for request in hook.requests)


async def committed(settings: CommonSettings, group: str) -> int:
    from aiokafka import TopicPartition

    consumer = await make_consumer(settings, settings.topic_prefix + group)
    try:
        topic = settings.topic("anomalies")
        found = [await consumer.committed(TopicPartition(topic, p)) for p in range(settings.partitions)]
        return sum(offset or 0 for offset in found)
    finally:
        await consumer.stop()
