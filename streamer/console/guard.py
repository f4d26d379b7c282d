"""Who may read and who may change: around every request, before any page.

- Reading: by a name that is ours. A page of somebody else whose name is made to point here (DNS rebinding) is refused.
- Changing: with the token in an `Authorization` header, from our own pages. There are no cookies, so that a foreign
  page has nothing a browser would send along; foreign origins are refused all the same.
- Every answer forbids the browser to load anything from elsewhere, or to show the page in a frame.
"""

import hmac
import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.settings import ConsoleSettings

SAFE = ("GET", "HEAD")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Middleware."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._token = settings.console_token
        self._names = {"localhost", settings.console_host.lower()}
        self._names |= {name.strip().lower() for name in settings.console_names.split(",") if name.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope["method"], headers)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if refused is not None:
            await JSONResponse({"error": refused[1]}, refused[0])(scope, receive, sending)
            return
        await self._app(scope, receive, sending)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 421, f"this console is not called {host!r}: name it in --console-names to reach it by that"
        if method in SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "only the console's own pages may change things"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "only the console's own pages may change things"
        if not self._token:
            return (
                403,
                "this console only shows: start it with --console-token (ANOMALYLLM_CONSOLE_TOKEN) to change things",
            )
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return 401, "wrong token"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "send JSON"
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names us: an address, which no foreign name server can give out, or a known name."""
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
