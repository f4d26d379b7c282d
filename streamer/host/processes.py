"""Child processes that leave nothing behind: own process group, tied to their parent, output in a file."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamer.errors import AnomalyLLMError
from streamer.host import tether

POLL_S = 0.01
# A worker ends within 4.6 s (host/signals.py), whatever is away; past this it is stuck.
STOP_TIMEOUT_S = 4.9
LOG_TAIL_CHARS = 2000


class ProcessDiedError(AnomalyLLMError):
    """A child process ended by itself; the message has its exit status and the end of its log."""


class Child:
    """One child process: `start`, `stop` (SIGTERM, then SIGKILL), `kill` (SIGKILL), all on its whole group.

    `command[0]` must be a path to an executable. Its standard output and error are appended to `log`.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; a no-op while it runs."""
        if self.alive:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self.command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if self.env is None else dict(self.env),
                # Own session: Ctrl-C in the terminal reaches the parent only, which then stops the
                # children in the right order.
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run, None while it runs."""
        return None if self._process is None else self._process.poll()

    def check(self) -> None:
        """Raise ProcessDiedError if it was started and has ended by itself."""
        if self._process is not None and not self.alive:
            raise ProcessDiedError(
                f"{self.name} ended with status {self.returncode}; the end of {self.log}:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-LOG_TAIL_CHARS:].decode(errors="replace").strip()

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask it to end and wait; what is left after `timeout_s` is killed."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        for _ in range(int(timeout_s / POLL_S)):
            if not self.alive:
                break
            await asyncio.sleep(POLL_S)
        self.kill()

    def kill(self) -> None:
        """kill -9 its whole group, and wait until it is gone."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return
