"""What a stream's model expects: asked of the detector's room, which has the models, without importing it.

The detector's room says so when it adds its verbs (`provide`); where it is not installed there are no bands.

Shapes: S slots, C channels
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import redis.asyncio

from streamer.contracts import ModelRecord, StreamSettings
from streamer.settings import CommonSettings
from streamer.windows.header import StreamHeader


@dataclass(frozen=True)
class Look:
    """A stream's newest slots as its model sees them.

    NaN where nothing is known. `threshold`: the surprise that opens an incident.
    """

    header: StreamHeader
    first: int  # number of the first slot
    values_SC: np.ndarray
    low_SC: np.ndarray
    expected_SC: np.ndarray
    high_SC: np.ndarray
    surprise_S: np.ndarray
    threshold: float
    version: str | None  # of the student; None: the generic prior
    season: str | None  # in words; None: there is none


# Settings, client, stream, its newest model record, its own settings, slots from the newest on; None: it has no grid.
Looker = Callable[
    [CommonSettings, redis.asyncio.Redis, str, ModelRecord | None, StreamSettings, int], Awaitable[Look | None]
]
_lookers: list[Looker] = []


def provide(looker: Looker) -> None:
    """Say who can look at streams; called by a room that has models."""
    _lookers[:] = [looker]


def looker() -> Looker | None:
    """Who can look; None where no room with models is installed."""
    return _lookers[0] if _lookers else None
