"""Prometheus remote write, versions 1 and 2: the request's body as sent (snappy) or already uncompressed.

A series' samples are channel `value`; a stale marker is a gap, as is any NaN. A native histogram gives the channels
`count` and `sum`; its buckets are left out. Version 1 tells types apart from series, by metric family, and usually in
another request: they are in `Decoded.families`. Version 2 tells them with the series. Without either, a name that ends in
`_total`, or in `_bucket` with a label `le`, counts up. Exemplars and created time stamps are left out.

Source: Prometheus remote write 1.0 and 2.0 specifications; snappy format description, "Preamble".
"""

from collections.abc import Iterable, Sequence
from typing import Any

import cramjam
from google.protobuf.message import DecodeError

from streamer.errors import ContractError
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.openmetrics import GAUGE_HISTOGRAM, UNKNOWN, kind_by_name, kind_of_series, kinds_of_family
from streamer.sources.points import Cells, Decoded, Kind, Series
from streamer.sources.prompb import Label, WriteRequest

# A copy of at most 64 bytes takes at least 2: nothing that is snappy grows more. Beyond either bound it is an attack.
_MAX_RATIO = 33
_MAX_BYTES = 256 * 1024 * 1024
_RESET_GAUGE = 3
_CURE_LABELS = "Labels are pairs of UTF-8 texts, the metric's name under __name__"


def decode_remote_write(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """A write request → cells.

    Args:
        raw: body of the request.
        at_ns: the record's time stamp, ns since 1970 (every sample brings its own).
        naming: of streams.

    Raises:
        ContractError: not a write request, or nothing in it can be read.
    """
    request = _parse(uncompressed(raw))
    cells = Cells(at_ns, "ms")
    known = naming.known("remote-write")
    for metadata in request.metadata:
        family = metadata.metric_family_name.decode(errors="replace")
        cells.out.families.update(kinds_of_family(family, metadata.type))
    for at, message in enumerate(request.timeseries):
        labels = tuple(message.labels)
        _take(f"timeseries[{at}]", labels, UNKNOWN, message, cells, naming, known, _pairs)
    symbols = list(request.symbols)
    for at, message in enumerate(request.timeseries2):
        try:
            refs = [symbols[ref] for ref in message.labels_refs]
        except IndexError:
            where = f"timeseries[{at}]"
            cells.bad(where, "remote-write", f"refers to none of the {len(symbols)} symbols", _CURE_LABELS)
            continue
        _take(f"timeseries[{at}]", tuple(refs), message.metadata.type, message, cells, naming, known, _interned)
    return cells.finish("nothing of the write request can be read")


def _take(
    where: str, labels: tuple[bytes, ...], metric_type: int, message: Any, cells: Cells, naming: Naming, known: SeriesByKey,
    read: Any,
) -> None:  # fmt: skip
    try:
        if message.samples:
            key = (read, metric_type, *labels)
            series = known.get(key) or known.setdefault(key, _series(read(labels), metric_type, naming, None))
            column = cells.column(series)
            for sample in message.samples:
                cells.columns.append(column)
                cells.stamps.append(sample.timestamp)
                cells.values.append(sample.value)
        for histogram in message.histograms:
            gauge = histogram.reset_hint == _RESET_GAUGE or metric_type == GAUGE_HISTOGRAM
            key = (read, metric_type, "gauge" if gauge else "counter", *labels)
            kind: Kind = "gauge" if gauge else "counter"
            series = known.get(key) or known.setdefault(key, _series(read(labels), metric_type, naming, kind))
            count = histogram.count_float if histogram.HasField("count_float") else histogram.count_int
            for channel, value in (("count", count), ("sum", histogram.sum)):
                cells.add(cells.column(series, channel), histogram.timestamp, float(value))
    except ContractError as error:
        cells.bad(where, error.reason, str(error), _CURE_LABELS)


def _series(labels: dict[str, str], metric_type: int, naming: Naming, kind: Kind | None) -> Series:
    name = labels.pop("__name__", "")
    if not name and not labels:
        raise ContractError("remote-write", "a series without labels")
    if kind is None:
        kind = kind_of_series(name, labels, metric_type) if metric_type else kind_by_name(name, labels)
    return naming.series(name, labels, kind)


def _pairs(labels: Iterable[bytes]) -> dict[str, str]:
    """Labels of version 1: messages of name and value."""
    read = {}
    for raw in labels:
        try:
            label = Label.FromString(raw)
            read[label.name.decode()] = label.value.decode()
        except (DecodeError, UnicodeDecodeError):
            raise ContractError("remote-write", f"label {raw[:40]!r} cannot be read") from None
    return read


def _interned(labels: Sequence[bytes]) -> dict[str, str]:
    """Labels of version 2: names and values by turns."""
    if len(labels) % 2:
        raise ContractError("remote-write", f"{len(labels)} label references: not pairs")
    try:
        words = [raw.decode() for raw in labels]
    except UnicodeDecodeError:
        raise ContractError("remote-write", "a label is not UTF-8") from None
    return dict(zip(words[::2], words[1::2], strict=True))


def uncompressed(raw: bytes) -> bytes:
    """The body without its snappy block; a body that is none comes back as it is.

    Raises:
        ContractError: it is empty, or claims to be larger than its compression allows.
    """
    if not raw:
        raise ContractError("empty", "the record has no value")
    if raw.startswith(b"\xff\x06\x00\x00sNaPpY"):
        raise ContractError(
            "snappy", "snappy's framed format; remote write uses the block format: send the body as it came"
        )
    size = _claimed(raw)
    if size is None or size > _MAX_RATIO * len(raw) + 64:
        return raw
    if size > _MAX_BYTES:
        raise ContractError("snappy", f"claims {size} bytes uncompressed; at most {_MAX_BYTES}: send smaller requests")
    try:
        return bytes(cramjam.snappy.decompress_raw(raw))
    except cramjam.DecompressionError:
        return raw


def _claimed(raw: bytes) -> int | None:
    """Uncompressed length in a snappy block's preamble, None where there is none."""
    size = 0
    for at, byte in enumerate(raw[:5]):
        size |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return size
    return None


def _parse(body: bytes) -> Any:
    request = WriteRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise ContractError(
            "remote-write", "neither a snappy block nor a protobuf write request: send the body as Prometheus sent it"
        ) from None
    if body and not (request.timeseries or request.timeseries2 or request.metadata):
        raise ContractError("remote-write", "a protobuf message, but no write request: no series and no metadata")
    return request
