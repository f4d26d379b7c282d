"""Points a second of each decoder of foreign payloads, beside the streamer's own JSON.

  python bench/sources.py [--seconds 2]

Every format carries the same points: 500 series of one metric with six labels, one point each in a payload (what a scrape
or a collector's batch looks like); the streamer's own JSON once as one point a record and once as 100 points of a stream a
record. Points a CPU second; one JSON line a format. Decoders know the series already, as they do after the first minute; `first_points_per_s`
is the first payload, where every series is read and named.

Shapes: M cells of a payload
"""

import argparse
import json
import time
from collections.abc import Callable

import cramjam
import numpy as np
import orjson
from aiokafka import ConsumerRecord
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from streamer.sources.formats import FORMATS, decoder_of
from streamer.sources.prompb import Label, WriteRequest
from streamer.windows.decode import Decoder

SERIES = 500
NOW_S = 1_790_000_000
LABELS = {"region": "eu-west-1", "zone": "eu-west-1b", "cluster": "prod", "namespace": "shop", "job": "api"}
RNG = np.random.default_rng(0)
VALUES = RNG.normal(100, 10, SERIES).round(3).tolist()


def labels_of(at: int) -> dict[str, str]:
    return {**LABELS, "pod": f"api-{at:05d}"}


def payloads() -> dict[str, list[bytes]]:
    """format → the payloads that carry all points once."""
    series = [(labels_of(at), value) for at, value in enumerate(VALUES)]
    tags = [",".join(f"{k}={v}" for k, v in sorted(labels.items())) for labels, _ in series]
    telegraf = [{"name": "load", "tags": labels, "fields": {"value": v}, "timestamp": NOW_S} for labels, v in series]
    adapter = [
        {"timestamp": "2026-09-21T14:13:20Z", "value": str(v), "name": "load", "labels": {"__name__": "load", **labels}}
        for labels, v in series
    ]
    points = zip(tags, series, strict=True)
    return {
        "telegraf": [orjson.dumps({"metrics": telegraf})],
        "influx": ["\n".join(f"load,{t} value={v} {NOW_S}000000000" for t, (_, v) in points).encode()],
        "graphite": [
            "\n".join(
                f"load;{t.replace(',', ';')} {v} {NOW_S}" for t, (_, v) in zip(tags, series, strict=True)
            ).encode()
        ],
        "prometheus-adapter": [orjson.dumps(sample) for sample in adapter],
        "remote-write": [remote_write(series)],
        "otlp-proto": [otlp(series).SerializeToString()],
        "otlp-json": [otlp_json(series)],
    }  # fmt: skip


def remote_write(series: list[tuple[dict[str, str], float]]) -> bytes:
    request = WriteRequest()
    for labels, value in series:
        of = request.timeseries.add()
        for name, text in sorted({"__name__": "load", **labels}.items()):
            of.labels.append(Label(name=name.encode(), value=text.encode()).SerializeToString())
        of.samples.add(value=value, timestamp=NOW_S * 1000)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def otlp(series: list[tuple[dict[str, str], float]]) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    metric = resource_metrics.scope_metrics.add().metrics.add(name="load")
    for labels, value in series:
        point = metric.gauge.data_points.add(as_double=value, time_unix_nano=NOW_S * 10**9)
        for key, text in labels.items():
            point.attributes.add(key=key).value.string_value = text
    return request


def otlp_json(series: list[tuple[dict[str, str], float]]) -> bytes:
    points = [
        {
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in labels.items()],
            "timeUnixNano": f"{NOW_S}000000000",
            "asDouble": value,
        }
        for labels, value in series
    ]
    metrics = [{"name": "load", "gauge": {"dataPoints": points}}]
    return orjson.dumps({"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metrics": metrics}]}]})


def rate(work: Callable[[], int], seconds: float) -> float:
    """Points a second, of as many rounds as fit into the time."""
    points, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        points += work()
    return points / (time.process_time() - start)


def own(per_record: int) -> Callable[[], int]:
    """The streamer's own decoder on the same points."""
    decoder = Decoder({}, 1, "murmur2", 300.0)
    records = []
    for at, value in enumerate(VALUES):
        body: object = {"stream": f"load-{at}", "ts": NOW_S, "value": value}
        if per_record > 1:
            rows = [[NOW_S + i, value] for i in range(per_record)]
            body = {"stream": f"load-{at}", "channels": ["value"], "points": rows}
        raw = orjson.dumps(body)
        records.append(ConsumerRecord("metrics", 0, at, NOW_S * 1000, 0, None, raw, None, 0, 0, ()))
    return lambda: len(decoder.decode(records).ts_M)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    for name, per_record in (("own JSON, a point a record", 1), ("own JSON, 100 points a record", 100)):
        print(json.dumps({"format": name, "points_per_s": round(rate(own(per_record), seconds))}), flush=True)
    made = payloads()
    for form in FORMATS:
        raws = made[form]
        start = time.process_time()
        decode = decoder_of(form)
        first_start = time.process_time()
        first = sum(len(decode(raw, NOW_S * 10**9).ts_M) for raw in raws)
        spent = time.process_time() - first_start
        steady = rate(lambda: sum(len(decode(raw, NOW_S * 10**9).ts_M) for raw in raws), seconds)  # noqa: B023
        report = {
            "format": form, "points_per_s": round(steady), "first_points_per_s": round(first / spent),
            "bytes_a_point": round(sum(map(len, raws)) / SERIES, 1), "load_ms": round((first_start - start) * 1e3, 1),
        }  # fmt: skip
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
