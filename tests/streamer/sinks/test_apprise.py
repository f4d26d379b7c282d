"""Mail through Apprise against a real SMTP server; what it does not take is a failure with a reason."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from streamer.errors import ConfigError
from streamer.sinks.apprise import Apprise
from streamer.sinks.config import AppriseTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import MessageFailedError
from tests.streamer.sinks.samples import delivery, event, message, sent

# One of Apprise's services imports it; none of ours.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Inbox:
    """Keeps what it gets; refuses recipients in `unknown`."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.unknown: set[str] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.unknown:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append(parsed)
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@pytest.fixture
async def inbox() -> AsyncIterator[tuple[Inbox, int]]:
    box = Inbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, hostname="localhost"), "127.0.0.1", 0)
    yield box, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


def sink_of(url: str, monkeypatch: pytest.MonkeyPatch) -> Apprise:
    monkeypatch.setenv("MAIL_URL", url)
    return Apprise(AppriseTable.model_validate({"type": "apprise", "url": {"env": "MAIL_URL"}}), "https://d/{stream}")


@pytest.mark.slow(6)
async def test_mail(inbox: tuple[Inbox, int], monkeypatch: pytest.MonkeyPatch) -> None:
    box, port = inbox
    address = f"mailto://127.0.0.1:{port}/?from=alerts@example.com&to=ops@example.com&mode=insecure"
    sink = sink_of(address, monkeypatch)
    answer = await sink.send(message(delivery(event(stream="größe<1>"))))
    assert answer.text.endswith("took it")
    ended = delivery(event(revision=1, state="resolved"), sent=sent())
    await sink.send(message(ended, action=Action.CLOSE))
    opened, closed = box.mails
    assert opened["subject"] == "[warning] größe<1>: anomaly"
    body = opened.get_body(("plain",))
    assert body is not None
    assert "value is far above <what> it was & stays there" in body.get_content()
    assert "https://d/gr%C3%B6%C3%9Fe%3C1%3E" in body.get_content()
    assert opened.get_body(("html",)) is None  # what users wrote is text, and stays so
    assert closed["subject"] == "resolved: [warning] web.cpu: anomaly"
    assert box.recipients == ["ops@example.com"] * 2


async def test_a_refused_recipient_is_a_failure_with_a_reason(
    inbox: tuple[Inbox, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, port = inbox
    box.unknown.add("nobody@example.com")
    sink = sink_of(f"mailto://127.0.0.1:{port}/?from=a@example.com&to=nobody@example.com&mode=insecure", monkeypatch)
    with pytest.raises(MessageFailedError, match="did not take it: "):
        await sink.send(message(delivery()))
    assert box.mails == []


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = sink_of("mailto://user:sesame@127.0.0.1:1/?from=a@example.com&to=b@example.com&mode=insecure", monkeypatch)
    with pytest.raises(MessageFailedError) as caught:
        await sink.send(message(delivery()))
    assert "sesame" not in str(caught.value)
    assert "onnect" in str(caught.value)


def test_an_address_that_apprise_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="knows no such address"):
        sink_of("nonsense://sesame", monkeypatch)
