"""The demo leaves nothing behind, however it ends."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from testkit.serving import PATIENCE_S

NO_TEACHER = {"ANOMALYLLM_TEACHER": "none"}


async def _start(folder: Path, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamer.cli", "demo", "--headless", "--json", "--state-dir", "state"),
        cwd=folder,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _said(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stderr is not None
    while word not in (line := (await process.stderr.readline()).decode()):
        assert line, f"it ended before it said {word!r}"


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow(11)
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "starting"), (signal.SIGTERM, "learning")])
async def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    process = await _start(tmp_path, **NO_TEACHER)
    await _said(process, moment)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, _ = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert _alive(started) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@pytest.mark.slow(11)
async def test_kill_9_takes_all_processes_along(tmp_path: Path) -> None:
    process = await _start(tmp_path, **NO_TEACHER)
    await _said(process, "learning")
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 5
    process.kill()
    await process.communicate()
    await asyncio.to_thread(psutil.wait_procs, started, timeout=PATIENCE_S)
    assert _alive(started) == []


async def test_a_worker_that_cannot_start_ends_the_demo_with_its_reason(tmp_path: Path) -> None:
    process = await _start(tmp_path, ANOMALYLLM_TEACHER=str(tmp_path / "nowhere"))
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert "nowhere" in err.decode()
    assert "worker ended with status" in err.decode()
