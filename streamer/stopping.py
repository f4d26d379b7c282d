"""The request to end, as every wait observes it.

A worker's code runs as one task. `Stop.request` asks it to end; whoever runs the worker gives it a moment to finish
its batch and then cancels it, which ends any wait. Cancelling comes at once when the task stands in a wait that has
no end of its own, for a server that is away: such a wait says so by `waiting`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar["Stop | None"] = ContextVar("stop", default=None)


class Stop:
    """Whether one worker has been asked to end, and whether it makes sense to let it finish its batch."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.hopeless = asyncio.Event()  # asked to end, and waiting for a server that is away
        self._waits = 0

    def request(self) -> None:
        """Ask the worker to end; asking twice is asking once."""
        self.requested.set()
        if self._waits:
            self.hopeless.set()

    @property
    def waits(self) -> bool:
        """Whether it waits for a server that is away."""
        return self._waits > 0

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Within it, and in tasks that are started within it, `waiting` speaks of this worker."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def _wait(self) -> Iterator[None]:
        self._waits += 1
        if self.requested.is_set():
            self.hopeless.set()
        try:
            yield
        finally:
            self._waits -= 1


@contextmanager
def waiting() -> Iterator[None]:
    """Around a wait for a server that does not answer: there is no use in finishing what waits for it."""
    stop = _current.get()
    if stop is None:
        yield
        return
    with stop._wait():
        yield
