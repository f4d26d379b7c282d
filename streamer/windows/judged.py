"""What somebody who looks at a stream is shown of its judgement: scores and expected bands of the newest slots.

Nothing of it is stored of streams nobody looks at. Who looks says so again and again (`watch`); while that lasts the
detector keeps two strings of the stream, bounded in bytes and expiring, and nothing depends on them.

Shapes: K slots, C channels, W phases of five minutes of a local week
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import redis.asyncio

from streamer.windows.keys import Keys

Float = npt.NDArray[np.float32]
WATCH_S = 30.0  # who looks on says so at least every third of it
KEEP_S = 60  # what was stored is gone so long after the last look
MOST_WATCHED = 16  # streams that one deployment keeps this of, those looked at last
_Made = TypeVar("_Made", "Judged", "Usual")


@dataclass(slots=True)
class Judged:
    """Consecutive slots from `first` on, as the model in force judges them now; NaN where it does not.

    >>> band_KC = np.ones((2, 1), np.float32)
    >>> judged = Judged(1, 7, "v1", False, 4.0, 5.0, "usual", np.zeros(2, np.float32), band_KC[:, 0], band_KC, band_KC, band_KC)
    >>> Judged.from_bytes(judged.to_bytes()).low_KC.shape
    (2, 1)
    """

    grid_version: int
    first: int
    model: str | None
    warming: bool
    threshold: float  # surprise of the students that counts
    season_threshold: float  # the same of the season's
    usual: str  # what the band is, for people; "" where there is no season
    students_K: Float  # surprise: −log10 of a tail probability
    season_K: Float
    low_KC: Float  # expected band, relative to the scale in the stream's header
    expected_KC: Float
    high_KC: Float

    @property
    def score_K(self) -> Float:
        """Surprise in units of what counts: the louder of students and season; 1 opens an incident when it lasts."""
        parts = np.stack([self.students_K / self.threshold, self.season_K / self.season_threshold])
        score_K: Float = np.where(np.isnan(parts).all(0), np.nan, np.nan_to_num(parts).max(0)).astype(np.float32)
        return score_K

    def to_bytes(self) -> bytes:
        """As stored."""
        return _packed(self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Judged":
        """What was stored."""
        return _unpacked(cls, raw)


@dataclass(slots=True)
class Usual:
    """A season: the expected band at each phase of a local week from Monday 00:00."""

    model: str
    zone: str | None
    low_WC: Float
    expected_WC: Float
    high_WC: Float

    def to_bytes(self) -> bytes:
        """As stored."""
        return _packed(self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Usual":
        """What was stored."""
        return _unpacked(cls, raw)


def _packed(made: Judged | Usual) -> bytes:
    """One line of JSON, then the arrays one after another."""
    body: dict[str, Any] = {f.name: getattr(made, f.name) for f in fields(made)}
    arrays = {name: value for name, value in body.items() if isinstance(value, np.ndarray)}
    head = {**body, **{name: list(value.shape) for name, value in arrays.items()}}
    return orjson.dumps(head) + b"\n" + b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays.values())


def _unpacked(cls: type[_Made], raw: bytes) -> _Made:
    line, _, data = raw.partition(b"\n")
    body, at = orjson.loads(line), 0
    for f in fields(cls):
        if f.name.rpartition("_")[2].isupper():
            shape = body[f.name]
            count = int(np.prod(shape))
            body[f.name] = np.frombuffer(data, "<f4", count, at).reshape(shape)
            at += 4 * count
    return cls(**body)


async def watch(client: redis.asyncio.Redis, keys: Keys, streams: Sequence[str]) -> None:
    """Say that somebody looks at these streams."""
    if not streams:
        return
    now = time.time()
    pipe = client.pipeline(transaction=False)
    pipe.zadd(keys.watched(), dict.fromkeys(streams, now + WATCH_S))
    pipe.zremrangebyscore(keys.watched(), "-inf", now)
    await pipe.execute()


async def watched(client: redis.asyncio.Redis, keys: Keys) -> list[str]:
    """The streams that somebody looks at, those looked at last first."""
    names: list[Any] = await client.zrevrangebyscore(keys.watched(), "+inf", time.time(), 0, MOST_WATCHED)
    return [name.decode() for name in names]


async def read_judged(
    client: redis.asyncio.Redis, keys: Keys, shard: int, stream: str
) -> tuple[Judged | None, Usual | None]:
    """What is stored of a watched stream; None where the detector has not come to it, or there is no season."""
    rows: list[Any] = await client.mget(keys.judged(shard, stream), keys.usual(shard, stream))
    judged, usual = rows
    return (
        None if judged is None else Judged.from_bytes(judged),
        None if usual is None else Usual.from_bytes(usual),
    )
