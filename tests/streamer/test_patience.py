"""Waiting for servers, and what ends it."""

import asyncio

import aiokafka.errors as kafka
import pytest
import redis.exceptions

from streamer.errors import RefusedError, UnavailableError
from streamer.patience import patiently, within
from streamer.refusals import REDIS_ERRORS, refusal
from streamer.stopping import Stop


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (redis.exceptions.AuthenticationError("invalid username-password pair"), "--redis-url"),
        (redis.exceptions.NoPermissionError("no permissions to run"), "ACL SETUSER"),
        (redis.exceptions.ResponseError("NOPERM of a script"), "ACL SETUSER"),
        (redis.exceptions.ResponseError("DB index is out of range"), "database"),
        (kafka.SaslAuthenticationFailed(), "mechanism"),
        (kafka.AuthenticationFailedError("x"), "mechanism"),
        (kafka.TopicAuthorizationFailedError({"metrics"}), "kafka-acls"),
        (kafka.GroupAuthorizationFailedError("g"), "kafka-acls"),
        (kafka.ClusterAuthorizationFailedError(), "kafka-acls"),
    ],
)
def test_a_refusal_is_told_from_an_outage_and_has_a_cure(error: Exception, cure: str) -> None:
    found = refusal("the server", error)
    assert found is not None
    assert cure in str(found)
    assert "\n" not in str(found)
    assert not found.retriable


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("refused"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.ResponseError("OOM"),
        kafka.KafkaConnectionError("away"),
        ConnectionRefusedError(),
    ],
)
def test_an_outage_is_no_refusal(error: Exception) -> None:
    assert refusal("the server", error) is None


async def test_a_refusal_is_not_retried() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise redis.exceptions.AuthenticationError("WRONGPASS")

    with pytest.raises(RefusedError, match="a server"):
        await patiently("a server", call, REDIS_ERRORS)
    assert calls == 1


async def test_it_works_once_the_server_is_back() -> None:
    answers = iter([ConnectionRefusedError(), ConnectionRefusedError(), 7])

    async def call() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return answer

    assert await patiently("a server", call) == 7


async def test_giving_up_also_ends_a_call_that_hangs() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(UnavailableError, match="redis://u:\\*\\*\\*@h does not answer"):
        await patiently("redis://u:secret@h", hang, give_up_after_s=0.1)


async def test_other_errors_are_not_waited_out() -> None:
    async def call() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await patiently("a server", call)


async def test_a_wait_for_a_server_that_is_away_is_no_work_to_finish() -> None:
    stop = Stop()
    away = asyncio.Event()

    async def call() -> None:
        away.set()
        raise ConnectionRefusedError

    with stop.observed():
        waiting = asyncio.create_task(patiently("a server", call))
    await away.wait()
    stop.request()
    await stop.hopeless.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_without_such_a_wait_is_not_hopeless() -> None:
    stop = Stop()
    stop.request()
    assert stop.requested.is_set()
    assert not stop.hopeless.is_set()


async def test_all_waits_of_a_block_have_one_time_together() -> None:
    async def away() -> None:
        raise kafka.KafkaConnectionError("nobody there")

    async def silent() -> None:
        await asyncio.Event().wait()

    for call, why in ((away, "nobody there"), (silent, "nothing within")):
        with pytest.raises(UnavailableError, match=why):
            async with within(0.2, "a server"):
                await patiently("a server", call)
    with pytest.raises(UnavailableError, match=r"nothing within 0.1 s"):
        async with within(0.1, "a server"):
            await silent()
    await patiently("a server", _answer)


async def _answer() -> None:
    return


async def test_an_error_in_a_block_with_a_time_limit_stays_what_it_is() -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        async with within(60, "a server"):
            raise TimeoutError("of its own")
