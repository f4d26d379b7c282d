"""What happens, to every open page: each has a queue of its own, and one that falls behind is told to read anew."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

MOST_WAITING = 256


class Message(NamedTuple):
    """One server-sent event."""

    name: str
    body: bytes  # JSON

    def encode(self) -> bytes:
        """As a browser's EventSource reads it."""
        return b"event: %s\ndata: %s\n\n" % (self.name.encode(), self.body)


class Hub:
    """Open pages.

    >>> hub = Hub()
    >>> with hub.joined() as queue:
    ...     hub.say("tick", {"total": 3})
    ...     queue.get_nowait().encode()
    b'event: tick\\ndata: {"total":3}\\n\\n'
    """

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Message]] = set()

    @property
    def pages(self) -> int:
        """How many are open."""
        return len(self._queues)

    @contextmanager
    def joined(self) -> Iterator["asyncio.Queue[Message]"]:
        """A queue of what is said from now on."""
        queue: asyncio.Queue[Message] = asyncio.Queue(MOST_WAITING)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def say(self, name: str, body: Any) -> None:
        """To all pages; encoded once."""
        if not self._queues:
            return
        message = Message(name, orjson.dumps(body))
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                message_lost = Message("reset", b"{}")
                queue.put_nowait(message_lost)
            queue.put_nowait(message)
