"""Servers on 127.0.0.1 that behave as the vendors' do: they check bodies by JSON Schema and keep incidents' state."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

S = TypeVar("S", bound="FakeServer")
SCHEMAS = Path(__file__).parent / "schemas"


def validator(name: str, part: str | None = None) -> Draft202012Validator:
    """Of one of the schemas, or of a definition in it."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    if part is not None:
        schema = {**schema, "$ref": f"#/$defs/{part}"}
    return Draft202012Validator(schema)


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class FakeServer:
    """Records requests; `script` are answers (status, headers) given before it does its work."""

    requests: list[Received] = field(default_factory=list)
    script: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    down: int | None = None  # answers all requests with this status
    url: str = ""

    async def handle(self, request: Request) -> Response:
        """One request."""
        try:
            body = await request.body()
        except ClientDisconnect:  # killed before it had said all
            return Response(status_code=400)
        got = Received(request.method, request.url.path, dict(request.query_params), dict(request.headers), body)
        self.requests.append(got)
        if self.down is not None:
            return PlainTextResponse("away", self.down)
        if self.script:
            status, headers = self.script.pop(0)
            return PlainTextResponse("scripted", status, headers)
        return self.answer(got)

    def answer(self, got: Received) -> Response:
        """What it does with it."""
        return PlainTextResponse("ok")

    def check(self, schema: Draft202012Validator, body: Any) -> str | None:
        """The first violation of the schema."""
        error = next(iter(schema.iter_errors(body)), None)
        if error is None:
            return None
        self.errors.append(f"{error.json_path}: {error.message}")
        return self.errors[-1]


class AlertmanagerServer(FakeServer):
    """Alerts by their labels."""

    alerts: dict[tuple[tuple[str, str], ...], dict[str, Any]]

    def answer(self, got: Received) -> Response:
        """POST /api/v2/alerts."""
        self.__dict__.setdefault("alerts", {})
        if (got.method, got.path) != ("POST", "/api/v2/alerts"):
            return PlainTextResponse("no such path", 404)
        fault = self.check(validator("alertmanager"), got.json)
        if fault is not None:
            return PlainTextResponse(json.dumps(fault), 400)
        for alert in got.json:
            if alert["endsAt"] < alert["startsAt"]:
                return PlainTextResponse('"start time must be before end time"', 400)
            self.alerts[tuple(sorted(alert["labels"].items()))] = alert
        return Response(status_code=200)


class PagerDutyServer(FakeServer):
    """Alerts by dedup_key: triggered, acknowledged, resolved."""

    states: dict[str, str]
    triggers: dict[str, dict[str, Any]]

    def answer(self, got: Received) -> Response:
        """POST /v2/enqueue."""
        for name in ("states", "triggers"):
            self.__dict__.setdefault(name, {})
        fault = self.check(validator("pagerduty"), got.json)
        if fault is not None:
            body = {"status": "invalid event", "message": "Event object is invalid", "errors": [fault]}
            return PlainTextResponse(json.dumps(body), 400)
        key, action = got.json["dedup_key"], got.json["event_action"]
        if action == "trigger":
            self.triggers[key] = got.json
            self.states[key] = "triggered"
        elif key in self.states:
            self.states[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        body = {"status": "success", "message": "Event processed", "dedup_key": key}
        return PlainTextResponse(json.dumps(body), 202)


class OpsgenieServer(FakeServer):
    """Alerts by alias."""

    alerts: dict[str, dict[str, Any]]

    def answer(self, got: Received) -> Response:
        """POST /v2/alerts and what is under it."""
        self.__dict__.setdefault("alerts", {})
        if got.headers.get("authorization") != f"GenieKey {'k' * 36}":
            return PlainTextResponse('{"message":"Could not authenticate"}', 401)
        parts = got.path.removeprefix("/v2/alerts").strip("/").split("/")
        what = "create" if parts == [""] else parts[-1]
        if (got.method, what) not in {
            ("POST", "create"),
            ("POST", "close"),
            ("POST", "acknowledge"),
            ("POST", "notes"),
            ("PUT", "priority"),
        } or (what != "create" and got.query != {"identifierType": "alias"}):
            return PlainTextResponse('{"message":"no such path"}', 404)
        fault = self.check(validator("opsgenie", what), got.json)
        if fault is not None:
            return PlainTextResponse(json.dumps({"message": fault}), 422)
        if what == "create":
            known = self.alerts.get(got.json["alias"])
            if known is None or known["status"] == "closed":
                self.alerts[got.json["alias"]] = {**got.json, "status": "open", "notes": []}
        else:
            alert = self.alerts[parts[0]]
            if what == "close":
                alert["status"] = "closed"
            elif what == "acknowledge":
                alert["acknowledged"] = True
            elif what == "priority":
                alert["priority"] = got.json["priority"]
            else:
                alert["notes"].append(got.json["note"])
        return PlainTextResponse('{"result":"Request will be processed","took":0.1,"requestId":"r"}', 202)


class SlackServer(FakeServer):
    """An incoming webhook."""

    def answer(self, got: Received) -> Response:
        """POST."""
        fault = self.check(validator("slack"), got.json)
        return PlainTextResponse("ok") if fault is None else PlainTextResponse("invalid_payload", 400)


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the tests' business."""
        yield


@asynccontextmanager
async def serving(server: S) -> AsyncIterator[S]:
    """The server, listening on a free port."""
    methods = ["GET", "POST", "PUT", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", server.handle, methods=methods)])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none")
    runner = _Quiet(config)
    task = asyncio.create_task(runner.serve())
    while not runner.started:
        await asyncio.sleep(0.01)
    port = runner.servers[0].sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        runner.should_exit = True
        await task
