"""All checks, one after another; one that cannot be made is a finding, too."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiokafka.errors import KafkaError

from streamer.doctor.findings import Finding, bad, note, ok, provided, warn
from streamer.doctor.host import check_limits, check_store, check_versions
from streamer.doctor.kafka import check_kafka
from streamer.doctor.redis import check_redis
from streamer.errors import AnomalyLLMError
from streamer.kafka.client import kafka_name
from streamer.masking import masked
from streamer.overview.reading import Overview, reading
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import CommonSettings

STEP_S, LOADING_S = 15.0, 300.0  # a host that is busy may take minutes to load a teacher
BEHIND_S = 60.0
_TROUBLE = (KafkaError, AnomalyLLMError, *REDIS_ERRORS)
_SLOW_HOST = (
    "Ask again when this host has less to do; a detector that starts on it now waits as long. Its log says more."
)


async def examine(settings: CommonSettings, since_s: float = 86_400.0, step_s: float = STEP_S) -> list[Finding]:
    """Everything that can be found out from here; dead letters since `since_s` seconds ago.

    A server that does not answer within `step_s` is away.
    """
    found = check_limits(settings)
    kafka = await _tried(
        "broker",
        kafka_name(settings),
        lambda: check_kafka(settings),
        "Is it running, and is --bootstrap its address?",
        step_s,
    )
    redis = await _tried(
        "Redis",
        redis_name(settings),
        lambda: check_redis(settings),
        "Is it running, and is --redis-url its address?",
        step_s,
    )
    found += [*kafka, *redis]
    answers = all(finding.level != "bad" or finding.subject not in ("broker", "topics", "Redis") for finding in found)
    if answers:
        async with reading(settings, since_s, step_s) as reader:
            read = await reader.read()
            found += workers(read)
            models = list(reader.models.of.values())
        found += await check_store(settings, read.workers, models)
        found += check_versions(read.workers)
    else:
        found += [*await check_store(settings, [], []), *check_versions([])]
    for check in provided():
        found += await _tried("detector", "device and teacher", partial(check, settings), _SLOW_HOST, LOADING_S)
    return found


async def _tried(
    subject: str, what: str, call: Callable[[], Awaitable[Sequence[Finding]]], cure: str, limit_s: float
) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(limit_s):
            return await call()
    except TimeoutError:
        return [bad(subject, masked(f"{what}: no answer within {limit_s:g} s"), cure)]
    except _TROUBLE as error:
        return [bad(subject, masked(f"{what}: {type(error).__name__}: {error}"), cure)]


def workers(read: Overview) -> list[Finding]:
    """Whether all kinds are alive, read everything and keep up."""
    found = [bad("reading", trouble, "See the findings above.") for trouble in read.troubles]
    for room, gone in read.unread.items():
        alive = [worker for worker in read.workers if worker.room == room]
        if not alive:
            found.append(bad("workers", f"no {room} is alive", f"Start one: anomalyllm {room}"))
        elif gone:
            missing = ", ".join(map(str, gone))
            found.append(
                bad(
                    "workers", f"no {room} reads partition {missing}",
                    "A worker with --assignment 0,1 reads only those; a group gives all of them out within half a minute.",
                )
            )  # fmt: skip
        else:
            found.append(ok("workers", f"{len(alive)} × {room}, all partitions read"))
    cure = "Add workers up to the number of partitions; publish batches of points (docs/speed.md)."
    found += [
        warn("lag", f"{lag.stage} is {lag.seconds:.0f} s and {lag.records:,} records behind", cure)
        for lag in read.lags
        if lag.seconds > BEHIND_S and lag.stage != "trainer"
    ]
    if read.dead_letters:
        buried = ", ".join(f"{reason} {count:,}" for reason, count in read.dead_letters.items())
        found.append(
            warn("dead letters", f"in the last day: {buried}", "The header `message` of each says what to do about it.")
        )
    if read.streams is not None:
        for state, reasons in read.streams.why.items():
            for reason, count in list(reasons.items())[:3]:
                found.append(note("streams", f"{count:,} {state}: {reason}"))
    return found
