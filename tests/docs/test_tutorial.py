"""The tutorial's commands, as they stand there, against `anomalyllm up`: they end in the alert that it promises.

Blocks of `bash` are run, those of `sh` (setting up, `up` itself, addresses) are done by the test in its own way.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from testkit.ports import own_ports
from testkit.serving import PATIENCE_S

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
ID = "ca670ab1"  # that of the tutorial's own incident
ALERTS = "anomalyllm alerts --since 1h --no-follow"


def blocks() -> list[str]:
    """What is to be typed, in order."""
    return re.findall(r"^```bash\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)


async def run(script: str, folder: Path, env: dict[str, str]) -> str:
    """What a shell prints; it ends at the first command that fails."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, f"{script}\n{printed.decode()}"
    return printed.decode()


@asynccontextmanager
async def up(folder: Path, env: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """`anomalyllm up` on free ports, and the variables that it says are to be exported."""
    servers = own_ports()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamer.cli", "up", "--no-console",
        cwd=folder, env=env | servers, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        exported: dict[str, str] = {}
        while len(exported) < 3:
            line = await process.stdout.readline()
            assert line, "it ended before it was up"
            exported.update(re.findall(r"export (\w+)=(\S+)", line.decode()))
        assert exported.items() > servers.items()
        yield exported
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


@pytest.mark.slow(25)
async def test_the_commands_of_the_tutorial_end_in_its_alert(tmp_path: Path) -> None:
    # The command of this interpreter, whatever is on the path.
    command = tmp_path / "bin" / "anomalyllm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m streamer.cli "$@"\n')
    command.chmod(0o755)
    (command.parent / "python").symlink_to(shutil.which(sys.executable) or sys.executable)
    here = str(Path(__file__).parents[2])
    env = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": here, "COLUMNS": "200"}
    data, learn, publish, alerts, show, feedback = blocks()
    assert alerts.strip() == ALERTS
    async with up(tmp_path, env) as exported:
        env |= exported
        await run(data, tmp_path, env)
        assert "promoted" in await run(learn, tmp_path, env)
        assert "published 60 points" in await run(publish, tmp_path, env)
        async with asyncio.timeout(PATIENCE_S):
            # How grave it is depends on the hour: by night a shop has less to lose.
            while "shop.requests fell to" not in (said := await run(alerts, tmp_path, env)):
                await asyncio.sleep(1)  # the command itself takes as long
        assert "is usual at this time" in said
        found = re.search(r"· (\w{8})$", said, re.MULTILINE)
        assert found is not None
        shown = await run(show.replace(ID, found[1]), tmp_path, env)
        assert "no picture" not in shown
        assert "no band" not in shown
        assert f"{found[1]}-" in await run(feedback.replace(ID, found[1]), tmp_path, env)  # the whole id
