"""`anomalyllm replay` as docs/how-to/replay.md has it: real workers, topics of their own, and nothing of it left."""

import os
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
import redis.asyncio

from streamer.contracts import StreamSettings
from streamer.kafka.client import make_admin
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows import wire
from testkit.processes import run_command
from testkit.serving import NOW_MS, producing, publish, read_all, running, until

# A slot every three minutes: 600 of them before the day that is asked for, 2026-01-06.
STEP_S, BEFORE, DAY_SLOTS, SLOTS = 180, 600, 480, 1150
T0 = 1_767_657_600 - BEFORE * STEP_S
BURST, STOP = range(800, 830), 900
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "replay.md"


def _documented(beginning: str) -> list[str]:
    """The command of the how-to that begins so, without `anomalyllm`."""
    [line] = [line for line in HOW_TO.read_text().splitlines() if line.startswith(beginning)]
    return shlex.split(line)[1:]


def _wave(seed: int) -> np.ndarray:
    made: np.ndarray = np.sin(np.arange(SLOTS) / 8 + seed) + 0.1 * np.random.default_rng(seed).normal(size=SLOTS)
    return made


def _at(slot: int, step_s: int = STEP_S) -> str:
    return datetime.fromtimestamp(T0 + step_s * slot, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.slow(20)
def test_a_file_needs_nothing_but_the_command(tmp_path: Path) -> None:
    lifted, ends = _wave(0), _wave(1)
    lifted[BURST] += 8.0
    rows = [f"{T0 + 60 * s},{lifted[s]:.4f},{ends[s] if s < STOP else ''}" for s in range(SLOTS)]
    (tmp_path / "web.csv").write_text("ts,lifted,ends\n" + "\n".join(rows) + "\n")
    (tmp_path / "tmp").mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALYLLM_")}
    done = subprocess.run(
        [sys.executable, "-m", "streamer.cli", *_documented("anomalyllm replay web.csv")], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=env | {"TMPDIR": str(tmp_path / "tmp"), "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"critical web.lifted since {_at(BURST.start, 60)[:15]}" in done.stdout
    assert "web.lifted rose to" in done.stdout
    assert f"web.ends since {_at(STOP, 60)} · " in done.stdout
    assert "web.ends has sent nothing for 30 min (30 intervals)" in done.stdout
    assert "historic" not in done.stdout
    assert "on 2 of 2 streams" in done.stdout
    assert "█ value" in done.stdout  # a picture
    page = (tmp_path / "report.html").read_text()
    assert 'class="incident ' in page
    assert 'class="band"' in page
    assert "repeats every" in page
    assert {entry.name for entry in tmp_path.iterdir()} == {"web.csv", "report.html", "tmp"}
    assert list((tmp_path / "tmp").glob("anomalyllm-*")) == []


@pytest.mark.slow(20)
async def test_a_stretch_of_the_cluster_is_judged_beside_it(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    lifted = _wave(2)
    lifted[BURST] += 8.0
    lifted[BEFORE + DAY_SLOTS + 10 :] += 8.0  # after it
    async with producing(settings) as producer:
        kind = StreamSettings(kind="gauge", alerts_per_week=60.0, labels={"room": "lab"})
        await producer.send(settings.topic("streams"), kind.model_dump_json(exclude_unset=True).encode(), key=b"web.x")
        for stream in ("web.x", "db.y"):
            for at in range(0, SLOTS, 50):
                points = [[T0 + STEP_S * s, float(lifted[s])] for s in range(at, at + 50)]
                body = orjson.dumps({"stream": stream, "points": points})
                home = home_partition(stream, settings.partitions)
                await producer.send(
                    settings.topic("metrics"), body, key=stream.encode(), partition=home, timestamp_ms=NOW_MS
                )
        await producer.send(settings.topic("metrics"), b"no JSON", partition=0, timestamp_ms=NOW_MS)
        await producer.flush()
    asked = [*_documented("anomalyllm replay --from"), "--json"]
    assert asked[1:5] == ["--from", "2026-01-06", "--to", "2026-01-07"]
    status, said, errors = await run_command(settings, *asked)
    assert status == 0, errors
    assert "1 records break a rule" in errors
    incidents = [orjson.loads(line)["data"] for line in said.splitlines()]
    assert {incident["stream"] for incident in incidents} == {"web.x"}
    assert all("2026-01-06" <= incident["started_at"] < "2026-01-07" for incident in incidents)
    [burst] = [incident for incident in incidents if incident["severity"] == "critical"]
    assert burst["started_at"][:15] == _at(BURST.start)[:15]
    assert burst["labels"] == {"room": "lab"}
    assert not burst["historic"]
    assert not burst["warming"]  # it has learnt from what lay before
    # Nothing of it reached the usual topics, and nothing is left.
    for topic in ("anomalies", "windows", "training", "models", "dead-letters"):
        assert await read_all(settings, topic) == []
    admin = await make_admin(settings, 10_000)
    try:
        assert [name for name in await admin.list_topics() if name.startswith(f"{settings.topic_prefix}replay.")] == []
    finally:
        await admin.close()
    assert [key async for key in redis_client.scan_iter(match=f"{settings.namespace}*")] == []


@pytest.mark.parametrize("marks", [True, False])
async def test_a_streamer_of_old_data_says_nothing_of_who_is_silent(settings: CommonSettings, marks: bool) -> None:
    async def marked() -> list[bool]:
        """Of each message of `windows` in the stream's partition, whether it is a mark."""
        home = home_partition("a", settings.partitions)
        records = [record for record in await read_all(settings, "windows") if record.partition == home]
        return [wire.decode(record.value).received_ms is not None for record in records]

    async with running(settings, marks=marks), producing(settings) as producer:
        for at in range(2):  # what comes second is announced behind all that was said after the first
            points = [[T0 + 100 * at + s, s] for s in range(50)]
            await publish(producer, settings, {"stream": "a", "points": points})
            await until(partial(_count, marked, at + 1, marks))
        assert any(await marked()) == marks


async def _count(marked: Callable[[], Awaitable[list[bool]]], announced: int, marks: bool) -> bool:
    said = await marked()
    return said.count(False) >= announced and (any(said) or not marks)
