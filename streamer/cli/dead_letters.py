"""`anomalyllm dead-letters`: list what was refused, explain it, and send it again after a fix."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from streamer.cli.options import with_settings
from streamer.cli.reasons import reason
from streamer.cli.running import answering, err, out, parse_since, run_until_stopped
from streamer.errors import ConfigError, ContractError
from streamer.settings import CommandSettings

if TYPE_CHECKING:
    from streamer.kafka.dead_letters import Letter

_SHOWN_BYTES = 2_000
# What may be sent again unnamed: doing it twice does no harm, and no newer record of a table is overwritten by it.
_HARMLESS = ("metrics", "feedback", "training")

At = Annotated[list[str] | None, typer.Argument(help="Letters as listed, PARTITION/OFFSET.", show_default=False)]
Error = Annotated[str | None, typer.Option("--error", help="Only this class, as listed.")]
Topic = Annotated[str | None, typer.Option("--topic", help="Only of this topic, by its full name.")]
Since = Annotated[str | None, typer.Option("--since", help="Only buried since: an age (2h, 1d) or an RFC 3339 time.")]


@dataclass(frozen=True)
class Choice:
    """Which letters are meant; None: any."""

    at: frozenset[str] | None
    error: str | None
    topic: str | None
    since_ms: int

    @classmethod
    def of(cls, at: list[str] | None, error: str | None, topic: str | None, since: str | None) -> "Choice":
        """Raises ConfigError."""
        for text in at or ():
            if not all(part.isdigit() for part in text.partition("/")[::2]):
                raise ConfigError(f"{text!r} is no letter: expected PARTITION/OFFSET as `dead-letters list` shows it")
        since_ms = 0 if since is None else int(parse_since(since).timestamp() * 1000)
        return cls(frozenset(at) if at else None, error, topic, since_ms)

    def has(self, letter: "Letter") -> bool:
        """Whether a letter is meant."""
        return (
            (self.at is None or letter.at in self.at)
            and self.error in (None, letter.facts.error)
            and self.topic in (None, letter.facts.topic)
            and letter.buried_ms >= self.since_ms
        )


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    letters = typer.Typer(help="List and explain what was refused, send it again.", no_args_is_help=True)
    app.add_typer(letters, name="dead-letters")

    @letters.command("list")
    @with_settings(CommandSettings)
    def show(
        settings: CommandSettings,
        error: Error = None,
        topic: Topic = None,
        since: Since = None,
        limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 50,
    ) -> None:
        """List the newest, a line each."""
        newest: deque[Letter] = deque(maxlen=limit)
        count = run_until_stopped(_each(settings, Choice.of(None, error, topic, since), newest.append))
        out.print(_table(newest))
        if count is not None and count > len(newest):
            out.print(f"and {count - len(newest):,} older ones; `anomalyllm dead-letters explain` counts them by class")

    @letters.command("explain")
    @with_settings(CommandSettings)
    def explain(
        settings: CommandSettings, at: At = None, error: Error = None, topic: Topic = None, since: Since = None
    ) -> None:
        """Say what each class means and what to do; of a letter that is named, all there is."""
        classes: dict[tuple[str, str], _Class] = {}

        def take(letter: "Letter") -> None:
            if at:
                out.print(_whole(letter))
            classes.setdefault((letter.facts.error, letter.facts.topic), _Class(letter)).take(letter)

        run_until_stopped(_each(settings, Choice.of(at, error, topic, since), take))
        if at and not classes:
            raise ConfigError("there is no such letter (any more)")
        if not at:
            for found in sorted(classes.values(), key=lambda found: -found.count):
                out.print(found.text())
            if not classes:
                out.print("no dead letters")

    @letters.command("resend")
    @with_settings(CommandSettings)
    def resend(
        settings: CommandSettings,
        at: At = None,
        error: Error = None,
        topic: Topic = None,
        since: Since = None,
        through: Annotated[
            str | None, typer.Option("--through", help="Shell command that mends a value: stdin to stdout, e.g. jq.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    ) -> None:
        """Send letters again as the records they were: key, headers, time stamp. Doing it twice does no harm."""
        if not (at or error or topic or since):
            raise ConfigError("say which: PARTITION/OFFSET, --error, --topic or --since (together: all must hold)")
        choice = Choice.of(at, error, topic, since)
        if run_until_stopped(_resend(settings, choice, through, dry_run)) is None:
            raise typer.Exit(130)


async def _letters(settings: CommandSettings, choice: Choice) -> "AsyncIterator[Letter]":
    """Everything in `dead-letters` that is meant, up to its present end."""
    from streamer.kafka.client import fetch, make_consumer
    from streamer.kafka.dead_letters import Letter
    from streamer.kafka.topics import at_end, partitions_of

    async with answering(settings):
        consumer = await make_consumer(settings, None)
    try:
        async with answering(settings):
            partitions = await partitions_of(consumer, settings.topic("dead-letters"))
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
        ends = quiet = 0
        while ends < 2:
            async with answering(settings):
                batches = await fetch(settings, consumer, 150)
                ends = ends + 1 if not batches and await at_end(consumer, partitions) else 0
                quiet = 0 if batches or ends else quiet + 1
                if quiet % 10 == 9:  # a consumer whose broker is away hears nothing, either
                    await partitions_of(consumer, settings.topic("dead-letters"))
            for record in (record for records in batches.values() for record in records):
                try:
                    letter = Letter.of(record)
                except ContractError as error:
                    err.print(f"{record.partition}/{record.offset}: {error}", markup=False, style="yellow")
                    continue
                if choice.has(letter):
                    yield letter
    finally:
        await consumer.stop()


async def _each(settings: CommandSettings, choice: Choice, take: "Callable[[Letter], None]") -> int:
    count = 0
    async for letter in _letters(settings, choice):
        take(letter)
        count += 1
    return count


async def _resend(settings: CommandSettings, choice: Choice, through: str | None, dry_run: bool) -> bool:
    from streamer.kafka.client import make_producer
    from streamer.kafka.sending import send

    chosen = [letter async for letter in _letters(settings, choice)]
    sent = left = 0
    async with answering(settings):
        producer = await make_producer(settings, request_timeout_s=settings.timeout)
    try:
        for letter in chosen:
            why = _not_again(settings, letter, choice)
            value = letter.value
            if why is None and through is not None:
                value, why = await _mended(value, through)
            if why is not None:
                left += 1
                err.print(f"{letter.at}: not sent: {why}", markup=False, style="yellow")
                continue
            sent += 1
            if dry_run:
                out.print(f"{letter.at} → {letter.facts.topic}: {_text(value, 200)}", markup=False)
                continue
            async with answering(settings):
                await send(settings, producer, [letter.again(settings, value)])
    finally:
        await producer.stop()
    out.print(f"{sent} {'would be sent' if dry_run else 'sent'} again, {left} not")
    if not dry_run and sent:
        out.print("what is refused again is a new dead letter, marked `again`; nothing is removed from the old ones")
    return True


def _not_again(settings: CommandSettings, letter: "Letter", choice: Choice) -> str | None:
    """Why a letter is not sent again, None when it may be."""
    from streamer.contracts import TOPICS

    topic = letter.facts.topic
    if letter.cut:
        return "a part of its value is lost, it was too large for the broker; publish it anew, in smaller parts"
    if topic == settings.topic("dead-letters"):
        return "it comes from the topic of dead letters itself"
    if topic not in {settings.topic(known) for known in _HARMLESS} and topic != choice.topic:
        own = topic in {settings.topic(known) for known in TOPICS}
        what = "it may overwrite what came after it" if own else "others than us may read that topic"
        return f"it belongs to {topic}: {what}; say --topic {topic} if that is meant"
    return None


async def _mended(value: bytes | None, command: str) -> tuple[bytes | None, str | None]:
    """A value after a shell command, or why not."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_shell(command, stdin=pipe, stdout=pipe, stderr=pipe)
    mended, errors = await process.communicate(value or b"")
    if process.returncode != 0:
        reason = errors.decode(errors="replace").strip().partition("\n")[0]
        return None, f"`{command}` ended with {process.returncode}: {reason}"
    return mended.removesuffix(b"\n"), None


class _Class:
    """All letters of one error class and topic."""

    def __init__(self, first: "Letter") -> None:
        self.count = 0
        self._first = self._newest = first

    def take(self, letter: "Letter") -> None:
        """One more."""
        self.count += 1
        self._newest = letter

    def text(self) -> str:
        """For a person, in rich markup."""
        newest, meant = self._newest, reason(self._newest.facts.error)
        span = f"{_time(self._first.buried_ms)} to {_time(newest.buried_ms)}"
        return (
            f"[bold]{escape(newest.facts.error)}[/] · {self.count:,} of {escape(newest.facts.topic)} · [dim]{span}[/]\n"
            f"  {escape(meant.what)}\n"
            f"  [green]to mend it:[/] {escape(meant.cure)}\n"
            f"  [dim]newest, {newest.at}:[/] {escape(newest.facts.message)}"
        )


def _whole(letter: "Letter") -> str:
    facts, meant = letter.facts, reason(letter.facts.error)
    own = "".join(f"\n  header {name}: {_text(raw, 200)}" for name, raw in letter.headers)
    return (
        f"[bold]{letter.at}[/] {escape(facts.error)}, buried {_time(letter.buried_ms)}\n"
        f"  from {escape(facts.topic)} {facts.partition}/{facts.offset}, stamped {_time(int(facts.timestamp))}\n"
        f"  {escape(facts.message)}\n  {escape(meant.what)}\n  [green]to mend it:[/] {escape(meant.cure)}"
        f"{escape(own)}\n  key {escape(_text(letter.key, 300))}\n  value {escape(_text(letter.value, _SHOWN_BYTES))}"
    )


def _table(letters: "deque[Letter]") -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("letter", "buried", "class", "from"):
        table.add_column(column, no_wrap=True)
    table.add_column("message")
    for letter in letters:
        facts = letter.facts
        again = " (again)" if letter.resent else ""
        origin = f"{facts.topic} {facts.partition}/{facts.offset}"
        row = (letter.at, _time(letter.buried_ms), facts.error + again, origin, facts.message)
        table.add_row(*map(escape, row))
    return table


def _time(ms: int) -> str:
    return datetime.fromtimestamp(max(0, ms) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(raw: bytes | None, most: int) -> str:
    if raw is None:
        return "none"
    shown = raw[:most].decode(errors="backslashreplace")
    text = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in shown)
    return text + (f" … ({len(raw):,} bytes)" if len(raw) > most else "")
