"""Mail and about 150 other services through Apprise, whose address says which.

Apprise answers yes or no and writes the reason into its log: a failure may be the server's or the message's, so it is
tried again until `give_up_after`, and the log's lines are the reason that the dead letter gives.
"""

import asyncio
import io
import logging
import threading
from typing import ClassVar

import apprise
from pydantic import SecretStr

from streamer.contracts import Severity
from streamer.errors import ConfigError
from streamer.sinks.config import RANK, AppriseTable
from streamer.sinks.errors import MessageFailedError
from streamer.sinks.planning import Message
from streamer.sinks.transport import Answer, Transport
from streamer.sinks.wording import cut, lines, title

KINDS: dict[Severity, apprise.NotifyType] = {
    "critical": apprise.NotifyType.FAILURE,
    "warning": apprise.NotifyType.WARNING,
    "info": apprise.NotifyType.INFO,
}


class Apprise(Transport):
    """One notification a message, sent by a thread: Apprise waits for its servers."""

    parallel: ClassVar[int] = 1

    def __init__(self, table: AppriseTable, link: str | None) -> None:
        self._link = link
        self._service = service_of(table.url)
        self._service.socket_connect_timeout = self._service.socket_read_timeout = table.timeout
        self._secret = table.url.get_secret_value()
        logging.getLogger("apprise").propagate = False  # it names recipients, and addresses when asked for more

    async def send(self, message: Message) -> Answer:
        """Deliver it; the reason of a failure is what Apprise logs."""
        incidents = [item.incident for item in message.items]
        worst = max((incident.severity for incident in incidents), key=lambda severity: RANK[severity])
        over = all(item.closed for item in message.items)
        kind = apprise.NotifyType.SUCCESS if over else KINDS[worst]
        done, reason = await asyncio.to_thread(
            self._notify, title(message), "\n".join(lines(message, self._link)), kind
        )
        if not done:
            raise MessageFailedError(f"{self._service.service_name} did not take it: {reason or 'no reason given'}")
        return Answer(f"{self._service.service_name} took it")

    def _notify(self, head: str, text: str, kind: apprise.NotifyType) -> tuple[bool, str]:
        logged = io.StringIO()
        handler = logging.StreamHandler(logged)
        mine = threading.get_ident()
        handler.addFilter(lambda record: record.thread == mine)
        logger = logging.getLogger("apprise")
        logger.addHandler(handler)
        try:
            done = self._service.notify(body=text, title=head, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
        finally:
            logger.removeHandler(handler)
        return bool(done), cut(" ".join(logged.getvalue().replace(self._secret, "***").split()), 300)


def service_of(url: SecretStr) -> apprise.NotifyBase:
    """The one service behind an address. Raises ConfigError, without the address."""
    service = apprise.Apprise.instantiate(url.get_secret_value(), suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase):
        raise ConfigError("Apprise knows no such address, or something is missing in it: see its list of services")
    return service
