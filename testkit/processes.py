"""Commands of ours as real processes: started, followed by their logs, signalled, and timed until they end."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from streamer.host.fleet import worker_env
from streamer.settings import CommonSettings
from testkit.serving import PATIENCE_S


class Command:
    """One process of `anomalyllm …`, with all of its output in `log`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    async def wrote(self, *texts: str) -> None:
        """Return once all of these texts are in its output."""
        async with asyncio.timeout(PATIENCE_S):
            while missing := [text for text in texts if text not in self.output]:
                assert self.process.returncode is None, f"it ended without {missing}:\n{self.output}"
                await asyncio.sleep(0.05)

    async def end(self, *signals: signal.Signals) -> float:
        """Send the signals and wait for the end; returns the seconds it took. Fails when it does not end.

        A worker that is asked to end does so within 5 s, but on a machine that stalls a test cannot hold it to that.
        """
        began = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
            await asyncio.sleep(0.2)  # two signals at once are one to the kernel
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"it did not end:\n{self.output}") from None
        return time.monotonic() - began


@asynccontextmanager
async def command(
    folder: Path, settings: CommonSettings, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Command]:
    """Run `anomalyllm ARGUMENTS` until the end of the block at the latest."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamer.cli", *arguments),
            env={**os.environ, **worker_env(settings), "ANOMALYLLM_TEACHER": "none", **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=out,
        )
    try:
        yield Command(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run_command(
    settings: CommonSettings, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """`anomalyllm ARGUMENTS` to its end: status, standard output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "streamer.cli"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **worker_env(settings), **(env or {})},
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def listening(answer: Callable[[bytes], bytes] | None = None) -> AsyncIterator[int]:
    """A port that accepts connections and never answers; or answers what it is sent by `answer`."""
    held: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        while data := await reader.read(65536):
            if answer is not None:
                writer.write(answer(data))

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.close()
