"""The console's addresses: pages, what they show as JSON, what happens as server-sent events, and one address to change things.

Shapes: S slots, C channels
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from streamer.console import series
from streamer.console.following import Following
from streamer.console.guard import Guard
from streamer.console.hub import Hub
from streamer.console.picture import Picture, is_open, row_of
from streamer.contracts import StreamSettings
from streamer.errors import ContractError, RefusedError, UnavailableError
from streamer.masking import masked
from streamer.refusals import REDIS_ERRORS
from streamer.settings import ConsoleSettings
from streamer.windows.judged import WATCH_S, watch
from streamer.windows.ring import read_headers

STATIC = Path(__file__).parent / "static"
PAGES = ("/", "/streams", "/stream", "/incidents", "/incident", "/health")
MOST_ROWS = 200
LIVE_S = 1.0
TAIL_SLOTS = 256  # sent of a stream at a time; a page that missed more reads the window anew
MOST_BODY = 16_384
Send = Callable[[Any], Awaitable[None]]


class Console:
    """What the addresses answer from."""

    def __init__(self, settings: ConsoleSettings, following: Following, hub: Hub, send: Send) -> None:
        self.settings = settings
        self.keys = following.reader.keys
        self.ending = asyncio.Event()
        self._client = following.reader.client
        self._reader = following.reader
        self._picture: Picture = following.picture
        self._hub = hub
        self._send = send

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            *(Route(path, self._page) for path in PAGES),
            Route("/api/summary", self._summary),
            Route("/api/streams", self._streams),
            Route("/api/stream", self._stream),
            Route("/api/series", self._series),
            Route("/api/season", self._season),
            Route("/api/incidents", self._incidents),
            Route("/api/incident", self._incident),
            Route("/api/health", self._health),
            Route("/api/events", self._events),
            Route("/api/token", self._token, methods=["POST"]),
            Route("/api/change", self._change, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, settings=self.settings), Middleware(GZipMiddleware, minimum_size=2_000)],
            exception_handlers={
                ContractError: lambda _, error: _json({"error": str(error)}, 400),
                UnavailableError: lambda _, error: _json({"error": masked(error)}, 503),
                RefusedError: lambda _, error: _json({"error": masked(error)}, 503),
                **dict.fromkeys(REDIS_ERRORS, _away),
            },
        )

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def _summary(self, request: Request) -> Response:
        return _json({**self._picture.summary(), "writable": bool(self.settings.console_token)})

    async def _streams(self, request: Request) -> Response:
        ask = request.query_params
        first, count = _whole(ask.get("first"), 0, 10_000_000), _whole(ask.get("count"), 50, MOST_ROWS)
        found = self._picture.page(
            ask.get("q", ""), ask.get("state", ""), ask.get("sort", ""), ask.get("down") == "1", first, count
        )
        names = [row.name for row in found.rows]
        drawn = await series.sparks(self._client, self.keys, names, self.settings.partitioner)
        rows = [{**row_of(row), "spark": drawn.get(row.name, [])} for row in found.rows]
        return _json({"total": found.total, "first": first, "rows": rows})

    async def _stream(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        row = self._picture.streams.get(name)
        if row is None:
            return _json({"error": f"there is no stream {name}"}, 404)
        settings = self._reader.stream_settings.of.get(name, StreamSettings())
        record = self._reader.models.of.get(name)
        return _json(
            {
                **row_of(row),
                "channels": row.channels,
                "slots": row.slots,
                "points": row.points,
                "passed_over": row.passed_over,
                "settings": settings.model_dump(mode="json", exclude_unset=True),
                "per_week": settings.alerts_per_week,
                "unit_name": settings.unit_name,
                "model": None if record is None else record.model_dump(mode="json"),
                "incidents": self._picture.newest(stream=name, count=100),
            }
        )

    async def _series(self, request: Request) -> Response:
        ask = request.query_params
        name, channel = ask.get("name", ""), _whole(ask.get("channel"), 0, 255)
        await watch(self._client, self.keys, [name] if name in self._picture.streams else [])
        if ask.get("span") == "weeks":
            return _json(await series.weeks(self._client, self.keys, name, channel, self.settings.partitioner))
        last = _whole(ask.get("last"), 512, 1 << 20)
        return _json(await series.window(self._client, self.keys, name, channel, last, self.settings.partitioner))

    async def _season(self, request: Request) -> Response:
        ask = request.query_params
        name, channel = ask.get("name", ""), _whole(ask.get("channel"), 0, 255)
        return _json(await series.season(self._client, self.keys, name, channel, self.settings.partitioner))

    async def _incidents(self, request: Request) -> Response:
        ask = request.query_params
        rows = self._picture.newest(
            ask.get("q", ""), ask.get("state", ""), ask.get("severity", ""), count=_whole(ask.get("count"), 200, 1000)
        )
        return _json({"rows": rows, "total": len(self._picture.incidents)})

    async def _incident(self, request: Request) -> Response:
        incident = self._picture.incidents.get(request.query_params.get("id", "").partition(":")[0])
        if incident is None:
            return _json({"error": "there is no such incident of the last week"}, 404)
        verdicts = self._picture.verdicts.get(incident.incident_id, [])
        return _json(
            {
                **incident.model_dump(mode="json"),
                "open": is_open(incident),
                "revisions": self._picture.revisions.get(incident.incident_id, []),
                "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
            }
        )

    async def _health(self, request: Request) -> Response:
        seen = self._picture.overview
        letters = [asdict(letter) for letter in reversed(self._reader.dead_letters.newest)]
        made = {**self._picture.summary(), "letters_newest": letters, "why": self._picture.tally.why}
        return _json(made if seen is None else {**made, "overview": asdict(seen)})

    async def _token(self, request: Request) -> Response:
        return Response(status_code=204)  # the guard has looked at it

    async def _change(self, request: Request) -> Response:
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > MOST_BODY:
                return _json({"error": "too much"}, 413)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ContractError("json", f"not JSON: {error}") from error
        await self._send(body)
        return _json({"sent": True}, 202)

    # What happens ----------------------------------------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        ask = request.query_params
        name, channel = ask.get("stream", ""), _whole(ask.get("channel"), 0, 255)
        return StreamingResponse(
            self._sent(name, channel), media_type="text/event-stream",
            headers={"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"},
        )  # fmt: skip

    async def _sent(self, name: str, channel: int) -> AsyncIterator[bytes]:
        """What the hub says, and once a second what is new of the stream that the page shows."""
        loop = asyncio.get_running_loop()
        after, next_at, watch_at, judged_at = -1, loop.time(), 0.0, -1
        yield b"retry: 1000\n\n"
        with self._hub.joined() as queue:
            while not self.ending.is_set():
                if name and loop.time() >= next_at:
                    next_at = loop.time() + LIVE_S
                    try:
                        if loop.time() >= watch_at:
                            watch_at = loop.time() + WATCH_S / 3
                            await watch(self._client, self.keys, [name])
                        body, after, judged_at = await self._tail(name, channel, after, judged_at)
                    except REDIS_ERRORS as error:
                        body = {"error": masked(error)}
                    if body:
                        yield b"event: points\ndata: " + orjson.dumps(body) + b"\n\n"
                wait_s = max(0.01, next_at - loop.time()) if name else LIVE_S
                try:
                    message = await asyncio.wait_for(queue.get(), wait_s)
                except TimeoutError:
                    continue
                yield message.encode()

    async def _tail(self, name: str, channel: int, after: int, judged_at: int) -> tuple[dict[str, Any], int, int]:
        """Slots after `after` of a stream, and its band where that has moved on."""
        headers = await read_headers(self._client, self.keys, [name], self.settings.partitioner)
        header = headers.get(name)
        if header is None or header.hi < 0:
            return {}, after, judged_at
        body: dict[str, Any] = {}
        if header.hi > after:
            more = TAIL_SLOTS if after < 0 else min(TAIL_SLOTS, header.hi - after + 8)  # a few again: some come late
            tails = await series.read_tails(self._client, self.keys, headers, self.settings.partitioner, more)
            if name in tails:
                first, values_SC = tails[name]
                values_S = values_SC[:, min(channel, values_SC.shape[1] - 1)]
                body = {
                    "times": [header.slot_ns(first + k) / 1e9 for k in range(len(values_S))],
                    "values": series.numbers(values_S),
                    "grid_version": header.grid_version,
                }
        judged = await series.judged(self._client, self.keys, name, channel, header, self.settings.partitioner)
        if judged is not None and len(judged["times"]):
            newest = round(judged["times"][-1] * 1e9)
            if newest != judged_at:
                judged_at, body["judged"] = newest, judged
        return body, header.hi, judged_at


async def _away(request: Request, error: Exception) -> Response:
    return _json({"error": masked(f"Redis does not answer: {error}")}, 503)


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers={"cache-control": "no-store"})


def _whole(text: str | None, default: int, most: int) -> int:
    """A whole number of a query, within 0 and `most`."""
    try:
        return min(max(int(text or default), 0), most)
    except ValueError:
        return default
