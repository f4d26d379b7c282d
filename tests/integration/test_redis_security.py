"""Redis behind TLS, with users and least rights. The embedded Valkey is built without TLS: a proxy ends it before it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from streamer.errors import ConfigError, RefusedError
from streamer.host.embedded import EmbeddedStack
from streamer.patience import patiently
from streamer.redis_client import make_redis, redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import CommonSettings
from testkit.certificates import Certificates
from testkit.processes import command
from testkit.serving import producing, publish, until

PASSWORD = "c0rrect-h0rse"
# Of docs/how-to/secure.md: what workers and commands use, and nothing else.
RIGHTS = "+@connection +@read +@write +@scripting -@admin -@dangerous -script|flush".split()  # noqa: SIM905


class TlsProxy:
    """Speaks TLS to clients, wants their certificate, and passes plain text on to a port."""

    def __init__(self, files: Certificates, to: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
        self._context.load_cert_chain(str(files.server))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._to = to
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """The port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Also all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        inner, outer = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            outer.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


@pytest.fixture
async def guarded(stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[tuple[Certificates, int, redis.asyncio.Redis]]:
    """Certificates, the port of a proxy that wants them, and a client that may do everything."""
    files = Certificates(tmp_path / "certificates")
    async with redis.asyncio.Redis.from_url(stack.redis_url) as client:
        proxy = TlsProxy(files, int(stack.redis_url.rpartition(":")[2].partition("/")[0]))
        yield files, await proxy.start(), client
        proxy.stop()


async def test_a_worker_works_behind_tls_as_a_user_with_the_rights_that_docs_give(
    settings: CommonSettings, guarded: tuple[Certificates, int, redis.asyncio.Redis], tmp_path: Path
) -> None:
    files, port, client = guarded
    user = f"u{settings.namespace}"
    rights = ("on", f">{PASSWORD}", "resetchannels", f"~{settings.namespace}:*", "-@all", *RIGHTS)
    await client.execute_command("ACL", "SETUSER", user, *rights)  # type: ignore[no-untyped-call]
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    own = settings.model_copy(
        update={
            "redis_url": f"rediss://127.0.0.1:{port}/0",
            "redis_user": user,
            "redis_password_file": password,
            "redis_ca_file": files.ca,
            "redis_cert_file": files.client("worker"),
        }
    )
    async with command(tmp_path / "streamer", own, "streamer") as process, producing(settings) as producer:
        await process.wrote("streamer ready")
        rows = [[1_790_000_000_000 + k * 1000, float(k % 7)] for k in range(40)]
        await publish(producer, settings, {"stream": "a", "points": rows}, key=b"a")

        async def kept() -> bool:
            return bool([k async for k in client.scan_iter(f"{settings.namespace}:*ring:a")])

        await until(kept)
        assert PASSWORD not in process.output
        shown = Path(f"/proc/{process.process.pid}/cmdline").read_bytes()
        assert PASSWORD.encode() not in shown
    await client.execute_command("ACL", "DELUSER", user)  # type: ignore[no-untyped-call]


async def test_a_certificate_of_a_strange_authority_is_fatal_at_once(
    guarded: tuple[Certificates, int, redis.asyncio.Redis], tmp_path: Path
) -> None:
    files, port, _ = guarded
    stranger = Certificates(tmp_path / "stranger")
    url = f"rediss://127.0.0.1:{port}/0"
    settings = CommonSettings(redis_url=url, redis_ca_file=stranger.ca, redis_cert_file=files.client("worker"))
    client = make_redis(settings)
    with pytest.raises(RefusedError, match="--redis-ca-file"):
        await patiently(redis_name(settings), client.ping, REDIS_ERRORS, give_up_after_s=20)
    await client.aclose()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"redis_url": "redis://u:p@h:1", "redis_password": PASSWORD}, "drop one of them"),
        ({"redis_url": "redis://u@h:1", "redis_user": "v"}, "drop one of them"),
        ({"redis_ca_file": "ca.pem"}, "write rediss://"),
        ({"redis_url": "rediss://h:1", "redis_ca_file": "/nowhere/ca.pem"}, "No such file"),
        ({"redis_password_file": "/nowhere/password"}, "ANOMALYLLM_REDIS_PASSWORD_FILE"),
    ],
)
def test_what_does_not_belong_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_redis(CommonSettings(**given))
