"""Local time of a stream: what a clock on the wall shows where its users live, daylight saving included.

Shapes: M instants.
"""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

_HOUR_S = 3600  # every zone changes its offset on a whole hour of UTC, or a quarter of one: a quarter is looked at
_STEP_S = _HOUR_S // 4


def known_zone(name: str) -> bool:
    """Whether there is such a time zone, e.g. `Europe/Berlin`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=65_536)
def _offset_s(zone: str, step: int) -> int:
    offset = datetime.fromtimestamp(step * _STEP_S, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def local_s(zone: str | None, unix_M: np.ndarray) -> np.ndarray:
    """Seconds on the wall's clock, counted as if 1970 had begun there: int64 (M,) from Unix seconds; None is UTC.

    >>> noon = np.array([1_719_835_200])  # 2024-07-01T12:00:00Z
    >>> int(local_s("Europe/Berlin", noon)[0] - noon[0])
    7200
    """
    if zone is None or zone == "UTC":
        return unix_M
    step_M = unix_M // _STEP_S
    found, at_M = np.unique(step_M, return_inverse=True)
    offset = np.array([_offset_s(zone, int(step)) for step in found], np.int64)
    local_M: np.ndarray = unix_M + offset[at_M]
    return local_M
