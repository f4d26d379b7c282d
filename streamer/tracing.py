"""Traces by OpenTelemetry, from a point to its alert: W3C trace context in Kafka headers. Off unless `--traces`.

A worker's batch is one span. Its parent is the trace of the first record that carries one; those of the others are its
links, since a batch is done at once for all of them (OpenTelemetry semantic conventions, "Messaging spans": process of a
batch). What a batch sends carries its own context on. Where to send spans, and how many, say the OTEL_* variables of the
SDK (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, …).

Without `switch_on` nothing of OpenTelemetry is imported, and a batch costs one comparison.
"""

import atexit
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamer.errors import ConfigError

Headers = Sequence[tuple[str, bytes]]
TRACE_PARENT = "traceparent"
EXTRA = "traces need pip install 'anomalyllm[traces]'"
MAX_LINKS = 128  # of a batch; what the SDK keeps, too

_tracer: Any = None


def switch_on(room: str, version: str, exporter: Any = None) -> None:
    """Send spans from now on: to `exporter`, or by OTLP over HTTP. Raises ConfigError where the packages are missing."""
    global _tracer
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            processor: Any = BatchSpanProcessor(OTLPSpanExporter())
        else:
            processor = SimpleSpanProcessor(exporter)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--traces: {error}: {EXTRA}") from error
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: f"anomalyllm-{room}", SERVICE_VERSION: version}), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    atexit.register(provider.shutdown)
    _tracer = provider.get_tracer("anomalyllm", version)


def switch_off() -> None:
    """Send none any more."""
    global _tracer
    _tracer = None


@contextmanager
def batch_span(name: str, records: Sequence[Any], partition: int | None = None) -> Iterator[None]:
    """Around the work on a batch of Kafka records; nothing where traces are off.

    A batch none of whose records carries a trace begins one of its own, as the sampler decides.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import Link, SpanKind, get_current_span

    contexts = _contexts(records)
    links = [Link(get_current_span(context).get_span_context()) for context in contexts[1:]]
    attributes: dict[str, str | int] = {"messaging.system": "kafka", "messaging.batch.message_count": len(records)}
    if partition is not None:
        attributes["messaging.destination.partition.id"] = str(partition)
    parent = contexts[0] if contexts else None
    with _tracer.start_as_current_span(
        name, context=parent, kind=SpanKind.CONSUMER, links=links, attributes=attributes
    ):
        yield


def carried() -> list[tuple[str, bytes]]:
    """Headers that carry the present span on; none where there is none."""
    if _tracer is None:
        return []
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return [(name, value.encode()) for name, value in carrier.items()]


def _contexts(records: Iterable[Any]) -> list[Any]:
    """Trace contexts that records carry, each once, in order."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carriers: dict[bytes, dict[str, str]] = {}
    for record in records:
        own = {name: value for name, value in record.headers if value is not None}
        if TRACE_PARENT in own and len(carriers) < MAX_LINKS:
            carriers.setdefault(
                own[TRACE_PARENT], {name: value.decode(errors="replace") for name, value in own.items()}
            )
    return [TraceContextTextMapPropagator().extract(carrier) for carrier in carriers.values()]
