"""`anomalyllm train`: ask for models and watch them come."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streamer.cli.running import answering, err, out, redis_or_error
from streamer.contracts import ModelRecord, TrainingRequest
from streamer.errors import ConfigError, ContractError
from streamer.kafka.client import make_producer
from streamer.kafka.tables import TableReader
from streamer.kafka.topics import provision
from streamer.parsing import parse
from streamer.settings import CommandSettings, CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import all_streams, read_headers
from trainer.announce import now

POLL_MS = 250


async def ask(
    settings: CommandSettings, streams: Sequence[str], job: Literal["full", "prototypes"], timeout_s: float | None
) -> bool:
    """Publish a request a stream (none given: all that have a window); follow `models` until each has an answer.

    Returns False when the time was over before. `timeout_s` None: do not wait.

    Raises:
        ConfigError: a stream that does not exist. UnavailableError: Kafka or Redis does not answer.
    """
    async with AsyncExitStack() as stack:
        async with answering(settings):
            await provision(settings)
            chosen = await _known(settings, streams)
            models = TableReader(settings, "models")
            stack.push_async_callback(models.stop)
            await models.start()
            await models.catch_up()  # answers are what comes after this
            producer = await make_producer(settings)
            stack.push_async_callback(producer.stop)
            sent = []
            for stream in chosen:
                request = TrainingRequest(stream=stream, reason="manual", job=job, requested_at=now())
                value = request.model_dump_json().encode()
                sent.append(await producer.send(settings.topic("training"), value, key=stream.encode()))
            await asyncio.gather(*sent)
        if timeout_s is None:
            out.print(f"{len(chosen)} asked for")
            return True
        return await _follow(models, set(chosen), timeout_s)


async def _known(settings: CommonSettings, streams: Sequence[str]) -> list[str]:
    keys = Keys(settings.namespace)
    async with redis_or_error(settings) as client:
        if not streams:
            found = await all_streams(client, keys)
            if not found:
                raise ConfigError("no stream has a window yet: publish some points first")
            return found
        there = await read_headers(client, keys, streams, settings.partitioner)
    missing = sorted(set(streams) - set(there))
    if missing:
        raise ConfigError(f"no such stream: {', '.join(missing)}. `anomalyllm streams list` shows all")
    return sorted(set(streams))


async def _follow(models: TableReader, waiting: set[str], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    shadows: set[str] = set()
    columns = (SpinnerColumn(), TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("training", total=len(waiting))
        while waiting and time.monotonic() < deadline:
            for record in await models.poll(POLL_MS):
                stream = (record.key or b"").decode(errors="replace")
                if stream not in waiting or record.value is None:
                    continue
                try:
                    model = parse(ModelRecord, record.value, "a model record")
                except ContractError:
                    continue  # not for us to judge: the workers log it
                waiting.discard(stream)
                progress.advance(task)
                ref = model.shadow or model.promoted
                if model.shadow is not None:
                    shadows.add(stream)
                if ref is not None:
                    word = "shadow (did not pass its gate)" if model.shadow else "promoted"
                    out.print(f"{stream}: {ref.version} {word}, {ref.points} slots")
    if shadows:
        err.print(f"{len(shadows)} did not pass the gate: `anomalyllm models show STREAM` says why")
    if waiting:
        few = ", ".join(sorted(waiting)[:5])
        err.print(
            f"no answer for {len(waiting)} streams within {timeout_s:g} s ({few}): does a trainer run, "
            "and do they have enough history? Its log says what it dropped"
        )
    return not waiting
