"""Who may read and who may change."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from streamer.console.guard import Guard
from streamer.settings import ConsoleSettings

TOKEN = "correct horse battery"
RIGHT = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}


def client(**given: str) -> TestClient:
    """A guarded application that says yes."""

    async def yes(request: Request) -> PlainTextResponse:
        return PlainTextResponse("yes")

    settings = ConsoleSettings.model_validate({"console_token": TOKEN, **given})
    routes = [Route("/", yes, methods=["GET", "POST", "DELETE"])]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, settings=settings)])
    return TestClient(app, base_url="http://127.0.0.1:8790")


@pytest.mark.parametrize("host", ["127.0.0.1:8790", "localhost:8790", "[::1]:8790", "10.1.2.3", "console.example:443"])
def test_it_is_read_by_an_address_or_a_name_of_its_own(host: str) -> None:
    assert client(console_names="console.example, other").get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1"])
def test_a_foreign_name_that_points_here_reads_nothing(host: str) -> None:
    answer = client().get("/", headers={"host": host})
    if host == "[::1":  # an address all the same: no name server gives it out
        assert answer.status_code == 200
        return
    assert answer.status_code == 421
    assert "--console-names" in answer.json()["error"]


def test_a_change_needs_the_token() -> None:
    assert client().post("/", headers=RIGHT).status_code == 200
    assert client().post("/", headers={**RIGHT, "authorization": "Bearer wrong"}).status_code == 401
    assert client().post("/", headers={"content-type": "application/json"}).status_code == 401
    assert client().post("/", headers={**RIGHT, "authorization": f"Basic {TOKEN}"}).status_code == 401
    assert client().delete("/").status_code == 401


def test_without_a_token_nobody_changes_anything() -> None:
    for given in (RIGHT, {**RIGHT, "authorization": "Bearer "}, {"content-type": "application/json"}):
        answer = client(console_token="").post("/", headers=given)
        assert answer.status_code == 403
        assert "only shows" in answer.json()["error"]
    assert client(console_token="").get("/").status_code == 200


@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8791"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_foreign_page_changes_nothing_even_with_the_token(foreign: dict[str, str]) -> None:
    assert client().post("/", headers={**RIGHT, **foreign}).status_code == 403


def test_our_own_page_may() -> None:
    ours = {"origin": "http://127.0.0.1:8790", "sec-fetch-site": "same-origin"}
    assert client().post("/", headers={**RIGHT, **ours}).status_code == 200


def test_what_a_form_can_send_is_no_change() -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert client().post("/", headers={**RIGHT, "content-type": kind}).status_code == 415


def test_every_answer_forbids_what_comes_from_elsewhere() -> None:
    for answer in (client().get("/"), client().post("/"), client().get("/", headers={"host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        ConsoleSettings(console_token="secret")
