"""How a stream is named after a metric's name and labels.

A template is text with parts in braces:
  {name}                    the metric's name
  {labels}                  {key=value,key=value} sorted by key; nothing where there are no labels
  {labels only KEY,KEY}     the same of these labels
  {labels without KEY,KEY}  the same of all others
  {labels.KEY}              one label's value; nothing where it is absent
"""

import re
from collections.abc import Callable, Hashable, Mapping
from functools import partial

from streamer.contracts import MAX_STREAM_BYTES
from streamer.errors import ConfigError
from streamer.sources.points import Kind, Series, fit_name

DEFAULT_TEMPLATE = "{name}{labels}"
# Series whose names are remembered a format: a label set is then read once, not once a point. About 500 bytes each.
MAX_KNOWN = 200_000

_PART = re.compile(r"\{([^{}]*)\}")
_ESCAPE_KEY = str.maketrans({"\\": "\\\\", ",": "\\,", "=": "\\="})
_ESCAPE_VALUE = str.maketrans({"\\": "\\\\", ",": "\\,"})

Piece = Callable[[str, Mapping[str, str]], str]
SeriesByKey = dict[Hashable, Series]  # series by whatever a decoder tells them apart with


class Naming:
    """A template, and the names it gave before.

    Args:
        template: see the module.
        ignored: label names, or prefixes ending in a dot, that `{labels}` leaves out (they stay labels of the stream).

    Raises:
        ConfigError: the template has an unknown part, or none that differs from stream to stream.
    """

    def __init__(self, template: str = DEFAULT_TEMPLATE, ignored: tuple[str, ...] = ()) -> None:
        self.template = template
        self._ignored = frozenset(ignored)
        self._prefixes = tuple(prefix for prefix in ignored if prefix.endswith("."))
        self._pieces: list[Piece] = []
        self._known: dict[str, SeriesByKey] = {}
        if not _PART.search(template):
            raise ConfigError(f"stream name {template!r} names no part such as {{name}}: all streams would be one")
        at = 0
        for match in _PART.finditer(template):
            if match.start() > at:
                self._pieces.append(partial(_constant, template[at : match.start()]))
            self._pieces.append(self._piece(match[1]))
            at = match.end()
        rest = template[at:]
        if "{" in rest or "}" in rest:
            raise ConfigError(f"stream name {template!r}: a brace is not closed")
        if rest:
            self._pieces.append(partial(_constant, rest))

    def _piece(self, part: str) -> Piece:
        if part == "name":
            return lambda name, labels: name
        if part == "labels":
            return lambda name, labels: _listed(labels, self._counts)
        if part.startswith("labels."):
            return partial(_one, part[len("labels.") :])
        for word in ("only", "without"):
            if part.startswith(f"labels {word} "):
                keys = frozenset(key.strip() for key in part[len(f"labels {word} ") :].split(","))
                counts = keys.__contains__ if word == "only" else partial(self._counts, but=keys)
                return lambda name, labels: _listed(labels, counts)
        raise ConfigError(
            f"stream name: unknown part {{{part}}}; known are {{name}}, {{labels}}, {{labels only KEY,KEY}}, "
            "{labels without KEY,KEY} and {labels.KEY}"
        )

    def _counts(self, key: str, but: frozenset[str] = frozenset()) -> bool:
        return key not in but and key not in self._ignored and not (self._prefixes and key.startswith(self._prefixes))

    def known(self, form: str) -> SeriesByKey:
        """Series already named, by whatever key the decoder of the format `form` tells them apart with."""
        known = self._known.setdefault(form, {})
        if len(known) > MAX_KNOWN:
            known.clear()
        return known

    def series(self, name: str, labels: Mapping[str, str], kind: Kind = "auto") -> Series:
        """Name a series. A name that is too long keeps its start and ends in a hash of the whole."""
        made = "".join([piece(name, labels) for piece in self._pieces])
        return Series(fit_name(made, MAX_STREAM_BYTES) or "_", name, dict(labels), kind)


def _constant(words: str, name: str, labels: Mapping[str, str]) -> str:
    return words


def _one(key: str, name: str, labels: Mapping[str, str]) -> str:
    return labels.get(key, "")


def _listed(labels: Mapping[str, str], counts: Callable[[str], bool]) -> str:
    pairs = [
        f"{key.translate(_ESCAPE_KEY)}={value.translate(_ESCAPE_VALUE)}"
        for key, value in sorted(labels.items())
        if counts(key)
    ]
    return f"{{{','.join(pairs)}}}" if pairs else ""
