"""How long a stream is silent by habit, for data that arrive in bursts: a minute of points once a minute.

A *pause* is the time between two deliveries that the second one has made good: its oldest point is as old as the
pause is long. So a publisher that buffers has pauses, a stream that stopped and came back has none.

Shapes: R records
"""

import numpy as np

# A pause is remembered for the bucket that it fell into and the next one; a bucket ends with the first delivery after
# so long. Shorter ones forget a habit between two deliveries, longer ones slow the finding of stops after an outage.
BUCKET_MS = 15 * 60_000
SHORTEST_MS = 1_000  # shorter pauses are below any limit of silence


def observe(pauses: list[int], last_ms: int, stamp_R: np.ndarray, oldest_R: np.ndarray) -> None:
    """Records of one stream in order: when they were sent, and their oldest points (ms).

    `pauses` are the longest one of this bucket, of the last one, and when this one began; `last_ms` is the stamp of
    the record before, 0 when there is none: what the first delivery says of itself is believed up to a bucket.

    >>> pauses = [0, 0, 0]
    >>> observe(pauses, 0, np.array([60_000]), np.array([1_000]))
    >>> observe(pauses, 60_000, np.array([120_000, 120_005]), np.array([61_000, 62_000]))
    >>> usual_ms(pauses)
    59000
    """
    before_R = np.concatenate([[last_ms or stamp_R[0] - BUCKET_MS], stamp_R[:-1]])
    pause_R = np.minimum(stamp_R - before_R, stamp_R - oldest_R)
    if int(stamp_R.max()) - pauses[2] < BUCKET_MS:
        pauses[0] = max(pauses[0], int(pause_R.max()))
        return
    for stamp, pause in zip(stamp_R.tolist(), pause_R.tolist(), strict=True):
        _note(pauses, stamp, pause)


def observe_one(pauses: list[int], last_ms: int, stamp: int, oldest: int) -> None:
    """The same of a single record."""
    _note(pauses, stamp, min(stamp - (last_ms or stamp - BUCKET_MS), stamp - oldest))


def _note(pauses: list[int], stamp: int, pause: int) -> None:
    if stamp - pauses[2] >= BUCKET_MS:
        pauses[:] = [0, pauses[0], stamp]
    pauses[0] = max(pauses[0], pause)


def usual_ms(pauses: list[int]) -> int:
    """The longest pause remembered."""
    return max(pauses[0], pauses[1])
