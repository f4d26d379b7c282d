"""The formats a topic or a file may have, by name."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from streamer.errors import ConfigError
from streamer.sources.naming import DEFAULT_TEMPLATE, Naming
from streamer.sources.otlprules import IGNORED
from streamer.sources.points import Decoded

Decode = Callable[[bytes, int, Naming], Decoded]

# format → (what it is, module, function, labels that are not part of a stream's default name)
FORMATS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "telegraf": ("Telegraf JSON", "telegraf", "decode_telegraf", ()),
    "influx": ("InfluxDB line protocol", "influx", "decode_influx", ()),
    "otlp-json": ("OpenTelemetry metrics (OTLP) as JSON", "otlpjson", "decode_otlp_json", IGNORED),
    "otlp-proto": ("OpenTelemetry metrics (OTLP) as protobuf", "otlpproto", "decode_otlp_proto", IGNORED),
    "remote-write": ("Prometheus remote write, version 1 or 2", "remotewrite", "decode_remote_write", ()),
    "prometheus-adapter": ("JSON of the Prometheus Kafka adapter", "adapter", "decode_adapter", ()),
    "graphite": ("Graphite plaintext", "graphite", "decode_graphite", ()),
}
_EXTRA = "pip install 'anomalyllm[sources]'"


def decoder_of(form: str, template: str = DEFAULT_TEMPLATE) -> Callable[[bytes, int], Decoded]:
    """The decoder of a format: (payload, record's time stamp in ns) → `Decoded`; raises ContractError.

    Raises:
        ConfigError: no such format, a bad template, or a package that the format needs is not installed.
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; known are {', '.join(FORMATS)}")
    _, module, function, ignored = FORMATS[form]
    naming = Naming(template, ignored)
    try:
        decode: Decode = getattr(import_module(f"streamer.sources.{module}"), function)
    except ModuleNotFoundError as error:
        raise ConfigError(f"format {form} needs the package {error.name}: {_EXTRA}") from error
    return partial(_decode, decode, naming)


def _decode(decode: Decode, naming: Naming, raw: bytes, at_ns: int) -> Decoded:
    return decode(raw, at_ns, naming)
