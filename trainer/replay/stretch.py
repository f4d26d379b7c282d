"""A stretch of a cluster's own `metrics`, and the settings of its streams: read, never written.

Shapes: M cells of a batch, N points of a stream, C channels
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from itertools import groupby

import numpy as np
from aiokafka import ConsumerRecord

from streamer.contracts import StreamSettings
from streamer.overview.following import EventReader
from streamer.settings import CommonSettings, StreamerSettings
from streamer.windows.decode import Decoded, Decoder
from trainer.replay.recorded import Collector, Recording

# Of streamers: a point may be so far ahead of its record's time, so that records older than that cannot hold it.
AHEAD_S: float = StreamerSettings.model_fields["max_ahead_s"].default


async def read_stretch(
    settings: CommonSettings, own: Mapping[str, StreamSettings], wanted: str, begin_ns: int, end_ns: int,
    progress: Callable[[int], None],
) -> tuple[Recording, int]:  # fmt: skip
    """Points of [begin, end) by their own time, and how many records broke a rule, as a streamer reads them.

    The topic is read to its present end: points that came late count. Raises UnavailableError, RefusedError, KafkaError.
    """
    collector, bad, read = Collector(wanted, begin_ns, end_ns), 0, 0
    decoder = Decoder(own, settings.partitions, settings.partitioner, AHEAD_S)

    def take(records: list[ConsumerRecord]) -> None:
        nonlocal bad, read
        for _, part in groupby(records, lambda record: record.partition):
            decoded = decoder.decode(list(part))
            bad += len(decoded.dead)
            _collect(collector, decoded)
        read += len(records)
        progress(read)

    reader = EventReader(settings, "metrics")
    try:
        await reader.start(max(0, begin_ns // 1_000_000 - round(AHEAD_S * 1000)))
        await reader.catch_up(take)
    finally:
        await reader.stop()
    return collector.made(), bad


def _collect(collector: Collector, decoded: Decoded) -> None:
    """Cells → points: what a stream said of one instant is one point."""
    if not len(decoded.ts_M):
        return
    stream_M = np.array([at for at, _ in decoded.channels])[decoded.column_M]
    for at, stream in enumerate(decoded.streams):
        mine = stream_M == at
        columns, channel_M = np.unique(decoded.column_M[mine], return_inverse=True)
        ns_N, point_M = np.unique(decoded.ts_M[mine], return_inverse=True)
        names = [decoded.channels[column][1] for column in columns]
        values_NC = np.full((len(ns_N), len(columns)), np.nan)
        said_NC = np.zeros(values_NC.shape, bool)
        values_NC[point_M, channel_M], said_NC[point_M, channel_M] = decoded.value_M[mine], True
        # A channel of which nothing was said is no null, which would take the place of a value in the same slot.
        for said_C in np.unique(said_NC, axis=0):
            of_these_N = (said_NC == said_C).all(1)
            channels = tuple(name for name, said in zip(names, said_C.tolist(), strict=True) if said)
            collector.add(stream, channels, ns_N[of_these_N], values_NC[of_these_N][:, said_C])


def settings_of(own: Mapping[str, StreamSettings], wanted: str) -> dict[str, StreamSettings]:
    """Settings of the wanted streams, for a replay: time stamps are in ns by then, nothing is forgotten or paused."""
    drop = {"unit", "ttl_s", "paused"}
    return {
        name: StreamSettings.model_validate(made.model_dump(exclude_unset=True, exclude=drop))
        for name, made in own.items()
        if fnmatchcase(name, wanted)
    }
