"""Which topics are read as which format: the text of `--source` and `--source-name`."""

import re
from dataclasses import dataclass

from streamer.contracts import TOPICS
from streamer.errors import ConfigError
from streamer.sources.formats import FORMATS
from streamer.sources.naming import DEFAULT_TEMPLATE, Naming

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}$")
_PAIR = re.compile(r"\s*([^=,{}]+?)\s*=((?:\{[^{}]*\}|[^,{}])+)(?:,|$)")


@dataclass(frozen=True, slots=True)
class Source:
    """One topic of the users' own."""

    topic: str
    form: str
    template: str = DEFAULT_TEMPLATE


def parse_sources(source: str, source_name: str = "") -> tuple[Source, ...]:
    """`topic=format,topic=format` and `topic=template,topic=template` → sources.

    Raises:
        ConfigError: not of this form, an unknown format or template, or a name for a topic that is no source.
    """
    formats, names = _pairs("--source", source), _pairs("--source-name", source_name)
    for topic, form in formats.items():
        if not _TOPIC.match(topic):
            raise ConfigError(f"--source: {topic!r} is no name of a Kafka topic")
        if form not in FORMATS:
            raise ConfigError(f"--source: {topic}={form}: unknown format; known are {', '.join(FORMATS)}")
    for topic, template in names.items():
        if topic not in formats:
            raise ConfigError(f"--source-name: {topic} is no topic of --source")
        Naming(template)
    return tuple(Source(topic, form, names.get(topic, DEFAULT_TEMPLATE)) for topic, form in formats.items())


def refuse_own_topics(sources: tuple[Source, ...], prefix: str) -> None:
    """Raises ConfigError when a source is one of this system's own topics."""
    own = {prefix + topic for topic in TOPICS}
    for source in sources:
        if source.topic in own:
            raise ConfigError(
                f"--source: {source.topic} is this system's own topic; let the senders write to one of their own, "
                "or set --topic-prefix"
            )


def _pairs(flag: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            raise ConfigError(f"{flag}: expected TOPIC=VALUE,TOPIC=VALUE, got {text[at:]!r}")
        if match[1] in pairs:
            raise ConfigError(f"{flag}: {match[1]} is named twice")
        pairs[match[1]] = match[2].strip()
        at = match.end()
    return pairs
