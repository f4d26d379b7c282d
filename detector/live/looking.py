"""A stream's newest slots as its model sees them, for people: band and surprise, as the worker would judge them now.

Shapes: S slots, C channels, K slots of a piece
"""

import asyncio

import numpy as np
import redis.asyncio

from detector.incidents.dial import budget_of, threshold_of
from detector.live.cache import SLACK, Entry
from detector.live.evidence import BAND
from detector.live.judge import PIECE
from detector.live.scaled import in_data_unit
from detector.live.settings import WorkerSettings
from detector.model.interface import Bank, Segment, SegmentScore, open_bank, open_store
from streamer.contracts import ModelRecord, StreamSettings
from streamer.overview.bands import Look
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import StreamWindow, read_windows
from streamer.windows.scale import data_of


async def look(
    settings: CommonSettings,
    client: redis.asyncio.Redis,
    stream: str,
    record: ModelRecord | None,
    own: StreamSettings,
    slots: int,
) -> Look | None:
    """The newest `slots` of a stream; None when it is not on a grid.

    Raises AnomalyLLMError when its student cannot be read, redis.RedisError.
    """
    compute = WorkerSettings.model_validate(settings.model_dump())
    bank = await asyncio.to_thread(open_bank, compute)
    if record is not None and record.promoted is not None:
        store = await open_store(compute)
        failed = await asyncio.to_thread(bank.install, [record], store)
        if stream in failed:
            raise failed[stream]
    keep = slots + bank.context + SLACK
    found = await read_windows(client, Keys(settings.namespace), [stream], settings.partitioner, keep)
    window = found.get(stream)
    if window is None or window.header.state != "grid":
        return None
    return await asyncio.to_thread(seen, bank, stream, window, own, slots)


def seen(bank: Bank, stream: str, window: StreamWindow, own: StreamSettings, slots: int) -> Look:
    """The same of a window in memory."""
    header, ref = window.header, bank.model_of(stream)
    student = ref if ref is not None and ref.grid_version == header.grid_version else None
    cold = student is None
    context = bank.context_of(stream, cold)
    entry = Entry(stream, window, slots + context + SLACK, header.hi)
    clock = entry.clock(own.timezone)
    first = max(entry.base, header.hi - slots + 1)
    scores: list[SegmentScore] = []
    for at in range(first, header.hi + 1, PIECE):
        last = min(at + PIECE - 1, header.hi)
        segment = Segment(stream, entry.segment(at, last, context), last - at + 1, last, cold, clock)
        scores += [in_data_unit(score, entry.scale) for score in bank.score([segment])]
    bands = [band_of(score) for score in scores]
    low_SC, expected_SC, high_SC = (np.concatenate([band[i] for band in bands]) for i in range(3))
    surprise_S = np.concatenate([surprise_of(score) for score in scores])
    return Look(
        header, first, data_of(entry.segment(first, header.hi, 1), header.scale), low_SC, expected_SC, high_SC, surprise_S,
        threshold_of(budget_of(own, header.interval_ns, cold, None if student is None else student.points)),
        None if student is None else student.version, scores[-1].season_word or None,
    )  # fmt: skip


def band_of(score: SegmentScore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low, expected, high (K, C): the season's where there is one of that channel, else the nearest prototype's."""
    low_KC, expected_KC, high_KC = score.low_KC.copy(), score.expected_KC.copy(), score.high_KC.copy()
    channel_K = score.season_channel_K
    if channel_K is None or score.season_low_K is None or score.season_high_K is None:
        return low_KC, expected_KC, high_KC
    assert score.season_expected_K is not None
    at = np.arange(len(channel_K)), channel_K
    for band_KC, season_K in (
        (low_KC, score.season_low_K), (expected_KC, score.season_expected_K), (high_KC, score.season_high_K),
    ):  # fmt: skip
        band_KC[at] = np.where(np.isfinite(season_K), season_K, band_KC[at])
    return low_KC, expected_KC, high_KC


def surprise_of(score: SegmentScore) -> np.ndarray:
    """The larger of what students and season say (K,); the season is heard from `BAND` on, as in events."""
    if score.season_KS is None:
        return score.surprise_K
    season_K = score.season_KS.max(1)
    surprise_K: np.ndarray = np.where(season_K >= BAND, np.fmax(score.surprise_K, season_K), score.surprise_K)
    return surprise_K
