"""Fixtures for tests that need servers: one embedded stack a session, topics and keys of its own a test.

With ANOMALYLLM_TEST_KAFKA=1 the broker is a real Apache Kafka (`make test-kafka`). With `-n` every worker of pytest is
a session with servers of its own.
"""

import asyncio
import gc
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient
from hypothesis import settings as hypothesis_settings
from xdist.remote import Producer

from streamer.contracts import TOPICS
from streamer.host.embedded import EmbeddedStack
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.ports import lasting_port
from testkit.real_kafka import RealKafka
from testkit.scheduling import ByModule

gc.disable()  # until all is imported: see pytest_collection_finish
# How long an example takes is the machine's business.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

REAL_KAFKA = os.environ.get("ANOMALYLLM_TEST_KAFKA") == "1"
# Folders whose tests run between servers: each test has topics and keys of its own, so any worker may run it.
BETWEEN_SERVERS = ("tests/integration/", "tests/chaos/")
# A worker holds about 1 GB (torch, a teacher, two servers).
MOST_WORKERS = 8


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: two more than there are cores, since tests between servers wait more than they compute.

    Without them (`make test-fast`) as many as there are cores: each takes ten seconds to collect what it may run.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    between_servers = not any(str(path).endswith("tests/integration") for path in config.getoption("ignore") or ())
    return min(cores + 2 * between_servers, MOST_WORKERS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModule:
    """Tests between servers go wherever there is room, all others module by module."""
    made = ByModule(config, log)
    made.free = _between_servers
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it at the end."""

    def order(item: pytest.Item) -> tuple[float, bool]:
        slow = item.get_closest_marker("slow")
        return (-float(slow.args[0]) if slow else 0.0, not _between_servers(item.nodeid))

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """What has been imported by now (torch!) stays: looking through it again and again took an eighth of all time."""
    gc.freeze()
    gc.enable()


def _between_servers(nodeid: str) -> bool:
    return nodeid.startswith(BETWEEN_SERVERS)


@pytest.fixture(autouse=True)
def _leaks_are_told_where_they_are_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """A connection that is left open warns when it is collected: here, in place of in whatever test comes later."""
    yield
    if _between_servers(request.node.nodeid):
        gc.collect()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ANOMALYLLM_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _lasting_ports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamer.host.embedded.free_port", lasting_port)
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Broker and Redis, shared by all tests of the session. Tests that kill servers start a stack of their own."""
    folder: Path = tmp_path_factory.mktemp("stack")
    stack = EmbeddedStack(folder, broker=RealKafka(folder / "kafka") if REAL_KAFKA else None)
    asyncio.run(stack.start())
    yield stack
    asyncio.run(stack.stop())


@pytest.fixture
async def settings(stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[CommonSettings]:
    """Common settings of one test: its own topics (provisioned), its own Redis keys, its own state folder."""
    unique = uuid.uuid4().hex[:12]
    made = CommonSettings(
        bootstrap=stack.bootstrap,
        redis_url=stack.redis_url,
        topic_prefix=f"t{unique}.",
        namespace=f"n{unique}",
        assignment="all",
        state_dir=tmp_path / "state",
    )
    await provision(made)
    yield made
    # The embedded broker keeps all records in memory until their topic goes.
    admin = AIOKafkaAdminClient(bootstrap_servers=made.bootstrap)
    await admin.start()
    await admin.delete_topics([made.topic(topic) for topic in TOPICS])
    await admin.close()


@pytest.fixture
async def redis_client(stack: EmbeddedStack) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the session's Redis."""
    client = redis.asyncio.Redis.from_url(stack.redis_url)
    yield client
    await client.aclose()
