"""A TCP proxy before a server, which cuts, stalls and truncates what goes through it.

Connections of this process are spared: publisher and observers see the server as it is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil

from streamer.host.embedded import LOOPBACK

CHUNK = 1 << 16


class _Pair:
    """Both ends of one connection."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends
        self.truncate = False

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Proxy:
    """Listens on `port`, forwards to `target` on the same host."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self._pairs: set[_Pair] = set()  # those that are not spared
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        """Forward until the end of the block."""
        server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        try:
            yield self
        finally:
            server.close()
            self._flows.set()
            for pair in list(self._pairs):
                pair.abort()

    async def cut(self, seconds: float = 0.0) -> int:
        """Reset all connections, and refuse new ones for so long; returns how many were reset."""
        pairs = list(self._pairs)
        self._refuses = True
        for pair in pairs:
            pair.abort()
        await asyncio.sleep(seconds)
        self._refuses = False
        return len(pairs)

    async def stall(self, seconds: float) -> int:
        """Nothing goes through for so long; connections stay. Returns how many there are."""
        self._flows.clear()
        await asyncio.sleep(seconds)
        self._flows.set()
        return len(self._pairs)

    async def truncate(self) -> int:
        """Of each connection's next piece half goes through, then it is reset; returns how many there are."""
        for pair in self._pairs:
            pair.truncate = True
        return len(self._pairs)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[1]
        spared = any(known.laddr.port == peer for known in psutil.Process().net_connections("tcp4"))
        if self._refuses and not spared:
            writer.transport.abort()
            return
        try:
            onward, out = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        pair = _Pair(writer, out)
        if not spared:
            self._pairs.add(pair)
        pumps = [
            asyncio.ensure_future(self._pump(reader, out, pair, spared)),
            asyncio.ensure_future(self._pump(onward, writer, pair, spared)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for pump in pumps:
                pump.cancel()
            for end in pair.ends:
                end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, spared: bool
    ) -> None:
        with suppress(OSError):  # reset by either side
            while data := await reader.read(CHUNK):
                if not spared:
                    await self._flows.wait()
                half = pair.truncate
                writer.write(data[: len(data) // 2] if half else data)
                await writer.drain()
                if half:
                    break
