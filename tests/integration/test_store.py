"""A store that the detector cannot read is told, listed, tried again, and healed; S3 is a store like a folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import orjson
import pytest
import redis.asyncio
from moto.server import ThreadedMotoServer

from detector.live import missing
from detector.model.artefact import ArtefactStore
from detector.model.store_errors import MissingArtefactError
from streamer.host.stats import read_stats
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from testkit.detecting import PAST, detecting, in_force, normal, ready
from testkit.processes import command
from testkit.serving import until

STREAMS = ["a", "b"]


async def listed(settings: CommonSettings, folder: Path) -> dict[str, str | None]:
    """What `streams list` says of each stream's student."""
    async with command(folder, settings, "streams", "list", "--json") as process:
        assert await process.process.wait() == 0
    rows = [orjson.loads(line) for line in process.output.splitlines()]
    return {row["stream"]: row["student_missing"] for row in rows}


@pytest.mark.slow(7)
async def test_another_hosts_folder_is_told_and_heals_when_the_artefacts_come(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(missing, "RETRY_S", 0.2)
    monkeypatch.setattr(missing, "RETRY_MOST_S", 0.4)
    async with ready(settings, redis_client, STREAMS) as run:
        await run.stop_detector()
        here, there = Path(run.own.store_uri()), tmp_path / "another-host"
        other = run.own.model_copy(update={"store": str(there)})
        capsys.readouterr()
        async with detecting(other) as detector:

            async def counted(count: int) -> bool:
                rows = await read_stats(redis_client, Keys(settings.namespace))
                return [row.get("students_missing") for row in rows if row["room"] == "detector"] == [count]

            await until(lambda: counted(2))
            assert not await in_force(detector, STREAMS, run.version)
            found = await listed(settings, tmp_path / "list")
            assert all(why is not None and "the same --store" in why for why in found.values())
            tried = detector.following._missing._next

            async def again() -> bool:
                return detector.following._missing._next > tried

            await until(again)
            assert capsys.readouterr().out.count("students cannot be read, trying again") == 1
            shutil.copytree(here, there)
            await until(lambda: in_force(detector, STREAMS, run.version))
            await until(lambda: counted(0))
            assert await listed(settings, tmp_path / "list again") == dict.fromkeys(STREAMS)
            await run.live("a", PAST, normal(PAST, 40))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """A local server that speaks S3, with a bucket `models`; found as any such server is, by the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one a process, bound to an address
    fsspec.filesystem("s3").makedirs("models", exist_ok=True)
    yield server
    server.stop()


async def test_students_live_in_s3(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, s3: ThreadedMotoServer, tmp_path: Path
) -> None:
    async with ready(settings, redis_client, STREAMS, store="s3://models/anomalyllm") as run:
        assert fsspec.filesystem("s3").ls("models/anomalyllm")
        await run.stop_detector()
        shutil.rmtree(run.own.state_dir / "cache")  # another host
        async with detecting(run.own) as detector:
            await until(lambda: in_force(detector, STREAMS, run.version))


def test_s3_says_what_is_absent(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    store = ArtefactStore("s3://models/anomalyllm", tmp_path / "cache")
    name, sha256 = store.write("x.safetensors", b"x")
    store.remove(name)
    with pytest.raises(MissingArtefactError, match="the same --store") as absent:
        store.read(name, sha256, [0])
    assert absent.value.retriable
