"""Slack's incoming webhooks (and Mattermost's and Rocket.Chat's): a text and blocks of mrkdwn."""

from typing import Any, ClassVar

from streamer.sinks.config import SlackTable
from streamer.sinks.deliveries import Action
from streamer.sinks.planning import Item, Message
from streamer.sinks.transport import Answer, Http, Transport
from streamer.sinks.wording import cut, lines, link_of, title

MAX_BLOCK = 3_000  # characters of a section's text; the fallback text may have 40 000
MAX_FALLBACK = 4_000
ICONS = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}
OVER = ":large_green_circle:"


class Slack(Transport):
    """One message a call. Slack asks for patience by 429 and Retry-After."""

    parallel: ClassVar[int] = 1

    def __init__(self, table: SlackTable, link: str | None) -> None:
        self._link = link
        self._url = table.url.get_secret_value()
        self._http = Http(table.timeout, [table.url])

    async def send(self, message: Message) -> Answer:
        """Post it."""
        return Answer(await self._http.post(self._url, json=body_of(message, self._link)))

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()


def body_of(message: Message, link: str | None) -> dict[str, Any]:
    """The webhook's JSON."""
    head = f"{icon(message.items)} *{escape(title(message))}*"
    under = [escape(text) for text in lines(message)]
    if len(message.items) == 1:
        address = link_of(link, message.items[0].incident)
        if address is not None:
            under.append(f"<{escape(address)}|open>")
    else:
        under = [f"• {text}" for text in under]
    return {
        "text": cut(escape(title(message)), MAX_FALLBACK),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": cut("\n".join([head, *under]), MAX_BLOCK)}}],
    }


def icon(items: tuple[Item, ...]) -> str:
    """By the worst severity; green when all are over."""
    if all(item.action in (Action.CLOSE, Action.PASSED, Action.CORRECT) for item in items):
        return OVER
    return ICONS[items[0].incident.severity]


def escape(text: str) -> str:
    """The three characters that Slack gives a meaning to."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
