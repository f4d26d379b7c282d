"""`alerts_per_day`: detectors share one ranking in Redis, and what it holds back is announced once it is grave enough."""

import pytest
import redis.asyncio

from detector.incidents.episode import Episode
from detector.incidents.machine import Transition
from detector.incidents.record import StreamState
from detector.live import fleet_budget
from detector.live.fleet_budget import FleetBudget
from streamer.contracts import IncidentState
from streamer.host.stats import read_stats
from streamer.overview.reading import reading
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from testkit.detecting import PAST, events, normal, ready
from testkit.serving import until
from tests.integration.test_overview import text_of


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_budget, "PERIOD_S", 0.0)


def opened(peak: float, slots: int = 2) -> tuple[StreamState, Episode]:
    """A stream whose incident has that peak."""
    episode = Episode(anchor=98, onset=97, threshold=4.0, peak=peak, peak_slot=98, hot=96 + slots, reach=5.0)
    state = StreamState(grid_version=1, interval_ns=10**9, phase_ns=0, scored=99)
    state.tracker.incident = episode
    return state, episode


async def seen(
    budget: FleetBudget, stream: str, state: StreamState, change: IncidentState, tenant: str = ""
) -> tuple[IncidentState, int] | None:
    """State and revision as people get them."""
    episode = state.tracker.incident
    assert episode is not None
    audible = budget.audible(stream, state, tenant, Transition(change, episode, 99))
    await budget.refresh()
    return None if audible is None else (audible.state, episode.revision - (episode.announced_from or 0))


async def test_detectors_share_one_ranking(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    keys = Keys(settings.namespace)
    one, two, free = (FleetBudget(per_day, redis_client, keys) for per_day in (1, 1, None))
    first, _ = opened(6.0)
    assert await seen(one, "a", first, "open") == ("open", 0)
    await two.refresh()
    later, episode = opened(5.0)
    assert await seen(two, "b", later, "open") is None
    assert await seen(free, "b", opened(5.0)[0], "open") == ("open", 0)
    assert await seen(two, "b", opened(5.0)[0], "open", tenant="another") == ("open", 0)
    assert (one.held_back, two.held_back) == (0, 1)
    later.stand("b")
    assert later.standing.open == []
    # It goes on, and is announced when it is graver than what has been.
    episode.revision, episode.peak = 1, 5.5
    assert await seen(two, "b", later, "update") is None
    episode.revision, episode.hot = 2, 110
    assert episode.severity == "critical"
    assert await seen(two, "b", later, "update") == ("open", 0)
    episode.revision = 3
    assert await seen(two, "b", later, "update") == ("update", 1)
    later.stand("b")
    assert [one.revision for one in later.standing.open] == [1]
    restored = StreamState.from_json(later.to_json())
    assert restored == later
    # What was never announced is not resolved either.
    silent, episode = opened(4.5)
    assert await seen(one, "c", silent, "open") is None
    episode.ended = 99
    assert await seen(one, "c", silent, "resolved") is None


async def test_a_ranking_that_cannot_be_read_is_begun_anew(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys = Keys(settings.namespace)
    budget = FleetBudget(1, redis_client, keys)
    for name, junk in (("x", b"not one"), ("since", b"yesterday"), ("x", b"\xff")):
        await redis_client.hset(keys.ranked(), name, junk)
        await budget.refresh()
        assert await redis_client.hgetall(keys.ranked()) == {}
    assert await seen(budget, "a", opened(6.0)[0], "open") == ("open", 0)
    assert len(await redis_client.hgetall(keys.ranked())) == 2


async def test_a_worker_holds_back_what_is_less_grave(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, "abc", alerts_per_day=1) as run:

        async def rise(stream: str, by: float, slots: int) -> None:
            values = normal(PAST, 400)
            values[50 : 50 + slots] += by
            await run.live(stream, PAST, values, piece=20)

        async def severities(stream: str) -> list[tuple[str, int, str]]:
            found = [event.data for event in await events(settings) if event.subject == stream]
            return [(data.state, data.revision, data.severity) for data in found]

        async def ended(stream: str) -> bool:
            return any(state == "resolved" for state, _, _ in await severities(stream))

        async def held() -> bool:
            (stats,) = [r for r in await read_stats(redis_client, Keys(settings.namespace)) if r["room"] == "detector"]
            return bool(stats["held_back"] == 1 and stats["open_incidents"] == 0)

        await rise("a", 20.0, 40)
        await until(lambda: ended("a"))
        await rise("b", 20.0, 3)
        await until(held)
        async with reading(settings) as reader:
            assert "held back by alerts_per_day since the start: 1" in text_of(await reader.read())
        await rise("c", 60.0, 40)
        await until(lambda: ended("c"))
        assert await severities("b") == []
        found = await severities("c")
        assert found[0] == ("open", 0, "critical")
        assert [revision for _, revision, _ in found] == list(range(len(found)))
