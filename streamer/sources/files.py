"""Files of metrics for `publish`: what is in one is understood and can be printed before its points flow.

CSV of any kind, Parquet, JSON lines of the `metrics` topic, and all formats of `formats`; each plain or compressed (gzip,
bzip2, xz, zstd). Bad rows and parts are set aside one by one with reason and cure, the others go on.
"""

import bz2
import gzip
import io
import lzma
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

import cramjam
import orjson

from streamer.errors import ConfigError, ContractError
from streamer.kafka.publishing import Batch
from streamer.sources.batching import Batch as Gathered
from streamer.sources.formats import FORMATS, decoder_of
from streamer.sources.layout import Hints
from streamer.sources.points import Bad, Decoded, Kind, Series
from streamer.sources.reading import POINTS_A_BATCH, batches, read_json_lines
from streamer.sources.recognise import OTHERS, recognise
from streamer.sources.tables import open_csv, points_of

TABLES = ("csv", "parquet", "jsonl")
FILE_FORMATS = ("auto", *TABLES, *FORMATS)
# Formats of lines are read in blocks of whole lines, the others whole
_LINES = frozenset({"graphite", "influx", "telegraf", "prometheus-adapter", "otlp-json"})
_BLOCK = 1 << 20
_PEEK = 64 * 1024
_MOST_BAD = 1_000  # bad parts kept for the report; all are counted
_PARQUET = b"PAR1"
_LINE = re.compile(r"^line (\d+)")
_DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, cramjam.DecompressionError)


@dataclass(slots=True)
class Understood:
    """A file that is open. `batches` may be read once; `bad`, `refused` and `series` fill while it is."""

    name: str
    form: str
    summary: list[str]
    batches: Iterator[Batch]
    bad: list[Bad] = field(default_factory=list)
    refused: int = 0
    series: dict[str, Series] = field(default_factory=dict)  # labels and kinds, where the format tells them

    families: dict[str, Kind] = field(default_factory=dict)
    stream: IO[bytes] = field(repr=False, kw_only=True)  # held, since it closes what it reads from when it goes
    text: IO[str] | None = field(default=None, repr=False, kw_only=True)  # over it, held until that is closed

    @property
    def has_settings(self) -> bool:
        """Whether the format says more of streams than their names."""
        return self.form in FORMATS

    def on_bad(self, bad: Bad) -> None:
        """Count a bad part, and keep it for the report while there is room."""
        self.refused += 1
        if len(self.bad) < _MOST_BAD:
            self.bad.append(bad)


@contextmanager
def opened(path: str | Path, hints: Hints) -> Iterator[Understood]:
    """A file, understood.

    Raises:
        ConfigError: it cannot be understood; the message says what to do.
    """
    with Path(path).open("rb", buffering=0) as raw:
        out = understood(raw, str(path), hints)
        try:
            yield out
        finally:
            out.stream.close()


def understood(raw: IO[bytes], name: str, hints: Hints) -> Understood:
    """What is in an open binary stream, a pipe for instance.

    Raises:
        ConfigError: it cannot be understood; the message says what to do.
    """
    try:
        out = _understood(raw, name, hints)
    except _DAMAGED as error:
        raise ConfigError(f"{name}: damaged: {error}") from error
    out.batches = _undamaged(out.batches, name)
    return out


def _undamaged(batches: Iterator[Batch], name: str) -> Iterator[Batch]:
    try:
        yield from batches
    except _DAMAGED as error:
        raise ConfigError(f"{name}: damaged after what was read: {error}") from error


def _understood(raw: IO[bytes], name: str, hints: Hints) -> Understood:
    stream, packed = _unpacked(io.BufferedReader(cast(io.RawIOBase, raw), _PEEK))
    start = stream.peek(_PEEK)
    form = _form(start, name, hints)
    out = Understood(name, form, [packed] if packed else [], iter(()), stream=stream)
    if form == "csv":
        out.text = text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
        layout, rows = open_csv(text, name, hints)
        out.summary += layout.summary
        out.batches = batches(points_of(layout, rows, hints, name, out.on_bad))
    elif form == "parquet":
        from streamer.sources.parquet import open_parquet

        layout, rows = open_parquet(stream, name, hints)
        out.summary += layout.summary
        out.batches = batches(points_of(layout, rows, hints, name, out.on_bad))
    elif form == "jsonl":
        out.summary.append("JSON lines of the metrics topic")
        out.text = lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
        out.batches = batches(read_json_lines(lines, name, stream=hints.stream))
    else:
        decode = decoder_of(form, hints.template)
        first = _first(decode, start, form)
        streams = [series.stream for series in first.series[:3]] if first else []
        example = f"; streams such as {', '.join(streams)}" if streams else ""
        out.summary.append(f"{FORMATS[form][0]}{example}")
        out.batches = _decoded(stream, form, hints, out)
    return out


def _unpacked(stream: io.BufferedReader) -> tuple[io.BufferedReader, str]:
    """The stream without its compression, and which that was."""
    start = stream.peek(6)
    unpacked: Any
    if start.startswith(b"\x1f\x8b"):
        unpacked, what = gzip.GzipFile(fileobj=stream), "gzip"
    elif start.startswith(b"BZh"):
        unpacked, what = bz2.BZ2File(stream), "bzip2"
    elif start.startswith(b"\xfd7zXZ"):
        unpacked, what = lzma.LZMAFile(stream), "xz"  # noqa: SIM115 (closed with the stream below it)
    elif start.startswith(b"\x28\xb5\x2f\xfd"):
        unpacked, what = io.BytesIO(bytes(cramjam.zstd.decompress(stream.read()))), "zstd"
    else:
        return stream, ""
    return io.BufferedReader(unpacked, _PEEK), f"compressed with {what}"


def _form(start: bytes, name: str, hints: Hints) -> str:
    if hints.form != "auto":
        if hints.form not in FILE_FORMATS:
            raise ConfigError(f"--format {hints.form}: unknown; known are {', '.join(FILE_FORMATS)}")
        return hints.form
    if not start.strip():
        raise ConfigError(f"{name} is empty: the first line must name the columns, for example ts,value")
    if start.startswith(_PARQUET):
        return "parquet"
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if ".csv" in suffixes or ".tsv" in suffixes:
        return "csv"
    seen = recognise(start) or recognise(start[: start.rfind(b"\n") + 1])
    if seen in FORMATS:
        return seen
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{":
        return "jsonl"
    if seen in (None, "csv"):
        return "csv"
    what, cure = OTHERS[seen]
    raise ConfigError(f"{name} looks like {what}, which cannot be read: {cure}")


def _first(decode: Any, start: bytes, form: str) -> Decoded | None:
    """What the beginning of the file holds, for the summary; the reading itself tells what is wrong."""
    if form in _LINES:
        start = start[: start.rfind(b"\n") + 1] or start
    try:
        decoded: Decoded = decode(start, time.time_ns())
    except ContractError:
        return None
    return decoded


def _decoded(stream: io.BufferedReader, form: str, hints: Hints, out: Understood) -> Iterator[Batch]:
    decode = decoder_of(form, hints.template)
    blocks = _blocks(stream) if form in _LINES else iter([(1, stream.read())])
    for first_line, block in blocks:
        try:
            decoded = decode(block, time.time_ns())
        except ContractError as error:
            where = f"from line {first_line}" if form in _LINES else "the file"
            out.on_bad(Bad(where, error.reason, str(error), f"Read as {form}; another format is said with --format"))
            continue
        for bad in decoded.bad:
            where = _LINE.sub(lambda match: f"line {int(match[1]) + first_line - 1}", bad.where)  # noqa: B023
            out.on_bad(replace(bad, where=where))
        for series in decoded.series:
            out.series.setdefault(series.stream, series)
        out.families.update(decoded.families)
        gathered = Gathered()
        gathered.add(decoded)
        for table in gathered.tables(POINTS_A_BATCH):
            yield Batch(table.stream, tuple(table.channels), table.points(), table.newest_ns())


def _blocks(stream: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines of about a MB). A document over many lines is one block."""
    start = stream.peek(_PEEK)
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[") and not _is_document(start.split(b"\n", 1)[0]):
        yield 1, stream.read()
        return
    number, rest = 1, b""
    while block := stream.read(_BLOCK):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            yield number, block[:cut]
            number += block.count(b"\n", 0, cut)
    if rest.strip():
        yield number, rest


def _is_document(line: bytes) -> bool:
    try:
        orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return False
    return True
