"""SIGTERM and Ctrl-C: the first asks to end, and the process ends soon after it, whatever still waits; a second ends it at once.

An event loop ends by itself only when all that runs in it ends: a thread that waits for a store that is away, or a
library that swallows a cancellation, would hold the process for ever. So a timer in a thread of its own ends it.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

import structlog

log = structlog.get_logger(__name__)
T = TypeVar("T")

# From the first signal to the end at the latest. A worker takes at most 4.5 s (host/worker.py).
END_S = 4.6
# Threads that are still at work when everything else has ended (a fit, a download) get this.
THREADS_S = 1.0
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class _Deadline:
    """Ends the process when its time is over; an earlier time replaces a later one."""

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []

    def set(self, seconds: float, status: int) -> None:
        timer = threading.Timer(seconds, _end, (status,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()


def _end(status: int) -> None:
    names = sorted({thread.name for thread in threading.enumerate() if not thread.daemon} - {"MainThread"})
    log.warning("ended with work left undone; the next start does it", threads=names)
    leave(status)


def leave(status: int) -> NoReturn:
    """End the process now. Taking the interpreter apart costs 0.6 s of CPU with torch in it, seconds on a busy host."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    logging.shutdown()
    os._exit(status)


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Errors that nobody waits for any more, since what waited for them was cancelled: no traceback for them."""
    log.debug("left behind while ending", error=f"{context.get('message')}: {context.get('exception')!r}")


def run_until_signalled(work: Coroutine[Any, Any, T], on_signal: Callable[[], None] | None = None) -> T | None:
    """Run `work` to its end in a new event loop.

    The first SIGTERM or SIGINT calls `on_signal` in the loop, or cancels `work` where there is none (then the result
    is None). `END_S` after it the process ends with status 128 + signal, if it has not ended by then; a second signal
    ends it at once.
    """
    deadline = _Deadline()
    received: list[int] = []

    async def guarded() -> T | None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def handle(number: int, frame: FrameType | None) -> None:
            received.append(number)
            if len(received) > 1:
                os._exit(128 + number)
            deadline.set(END_S, 128 + number)
            loop.set_exception_handler(_note)
            # Not by loop.add_signal_handler: that one waits for a loop that may be held up.
            loop.call_soon_threadsafe(on_signal or task.cancel)

        for number in _NUMBERS:
            signal.signal(number, handle)
        status = 1
        try:
            result = await task
            status = 0
            return result
        except asyncio.CancelledError:
            if not received:
                raise
            status = 0
            return None
        finally:
            # From here on only threads can hold the process.
            deadline.set(THREADS_S, status)

    before = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        return asyncio.run(guarded())
    finally:
        deadline.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
