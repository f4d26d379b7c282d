"""JSON of the Prometheus Kafka adapter: `{"timestamp","value","name","labels"}`, a sample a record.

Value and time are text ("9876543210", RFC 3339); NaN is a gap. The metric's type is not in it: a name that ends in
`_total`, or in `_bucket` with a label `le`, counts up, as OpenMetrics demands of such names.

Source: README of the Prometheus Kafka adapter, "JSON"; OpenMetrics 1.0, "Counter" and "Histogram".
"""

from typing import Any

from streamer.errors import ContractError
from streamer.sources.jsontext import json_items, label_text
from streamer.sources.naming import Naming, SeriesByKey
from streamer.sources.openmetrics import kind_by_name
from streamer.sources.points import Cells, Decoded
from streamer.timestamps import parse_timestamp

_CURE = 'A sample is {"timestamp": RFC 3339, "value": "number", "name": text, "labels": {}}'


def decode_adapter(raw: bytes, at_ns: int, naming: Naming) -> Decoded:
    """Samples → cells, channel `value`.

    Args:
        raw: a sample, a list of them, or one a line.
        at_ns: the record's time stamp, ns since 1970.
        naming: of streams.

    Raises:
        ContractError: nothing in the payload is a sample.
    """
    cells = Cells(at_ns, "ns")
    known = naming.known("adapter")
    for where, sample in json_items(raw, cells):
        _sample(where, sample, cells, naming, known)
    return cells.finish("not the adapter's JSON")


def _sample(where: str, sample: Any, cells: Cells, naming: Naming, known: SeriesByKey) -> None:
    try:
        if not isinstance(sample, dict) or not isinstance(labels := sample.get("labels"), dict):
            raise ContractError("adapter", "no object with labels")
        name = sample.get("name") or labels.get("__name__")
        if not isinstance(name, str):
            raise ContractError("adapter", "name is no text")
        key = (name, *((k, v) for k, v in labels.items() if isinstance(v, str)))
        series = known.get(key) if len(key) == len(labels) + 1 else None
        if series is None:
            texts = {k: label_text(v) for k, v in labels.items() if k != "__name__"}
            series = naming.series(name, texts, kind_by_name(name, texts))
            if len(key) == len(labels) + 1:
                known[key] = series
        stamp = sample.get("timestamp")
        ts = None if stamp is None else parse_timestamp(stamp)
        value = sample.get("value")
        if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ContractError("value", f"value {str(value)[:40]!r} is no number")
        cells.add(cells.column(series), ts, float(value))
    except ContractError as error:
        cells.bad(where, error.reason, str(error), _CURE)
    except (ValueError, OverflowError):
        cells.bad(where, "value", f"value {str(sample['value'])[:40]!r} is no number", _CURE)
