"""How long a stream is silent by habit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.windows.pauses import BUCKET_MS, observe, observe_one, usual_ms

S = 1000
BEGIN = 1_790_000_000_000


def deliveries(*pairs: tuple[int, int], cut: int = 1) -> list[int]:
    """(seconds when a record was sent, age in seconds of its oldest point), so many records a batch."""
    pauses, last = [0, 0, 0], 0
    for at in range(0, len(pairs), cut):
        stamp_R = np.array([BEGIN + sent * S for sent, _ in pairs[at : at + cut]])
        observe(pauses, last, stamp_R, stamp_R - np.array([age * S for _, age in pairs[at : at + cut]]))
        last = int(stamp_R.max())
    return pauses


@pytest.mark.parametrize(
    ("what", "pairs", "usual"),
    [
        ("each second", [(s, 0) for s in range(60)], 0),
        ("a minute of points once a minute", [(60, 59), (120, 59), (180, 59)], 59),
        ("the same, one point a record", [(m * 60, 59 - k) for m in (1, 2) for k in range(60)], 59),
        ("stopped and came back", [(0, 0), (1, 0), (3600, 0), (3601, 0)], 0),
        ("an hour that was buffered", [(0, 0), (3600, 3599), (3601, 0)], 3599),
        ("half an hour later it is forgotten", [(0, 0), (3600, 3599), (3601, 0), (4600, 0), (5600, 0)], 0),
        ("once an hour", [(3600 * h, 3540) for h in range(1, 5)], 3540),
        ("a clock that is a year behind", [(s * 10, 31_536_000) for s in range(200)], 10),
        ("a backfill of a day as the first thing", [(0, 86_400), (1, 0)], BUCKET_MS // S),
    ],
)
def test_pauses(what: str, pairs: list[tuple[int, int]], usual: int) -> None:
    assert usual_ms(deliveries(*pairs)) / S == usual, what


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), min_size=1, max_size=40), st.integers(1, 9))
def test_however_batches_are_cut(gaps: list[tuple[int, int]], cut: int) -> None:
    sent = np.cumsum([gap for gap, _ in gaps]).tolist()
    pairs = [(at, age) for at, (_, age) in zip(sent, gaps, strict=True)]
    assert deliveries(*pairs) == deliveries(*pairs, cut=cut)
    one, last = [0, 0, 0], 0
    for at, age in pairs:
        observe_one(one, last, BEGIN + at * S, BEGIN + (at - age) * S)
        last = BEGIN + at * S
    assert one == deliveries(*pairs)
