"""Pieces of a picture become one."""

from dataclasses import replace

import numpy as np

from streamer.overview.bands import Look
from streamer.windows.header import StreamHeader
from trainer.replay.pictures import joined


def _piece(first: int, slots: int, value: float) -> Look:
    header = StreamHeader(state="grid", grid_version=1, interval_ns=10**9, hi=first + slots - 1, channels=["value"])
    part_SC = np.full((slots, 1), value)
    return Look(header, first, part_SC, part_SC - 1, part_SC, part_SC + 1, part_SC[:, 0], 4.0, f"v{value:g}", None)


def test_gaps_are_not_known_and_the_later_piece_counts() -> None:
    whole = joined([_piece(100, 10, 1.0), _piece(108, 4, 2.0), _piece(115, 2, 3.0)])
    assert whole.first == 100
    assert whole.header.hi == 116
    np.testing.assert_array_equal(whole.values_SC[:, 0], [1.0] * 8 + [2.0] * 4 + [np.nan] * 3 + [3.0] * 2)
    np.testing.assert_array_equal(whole.low_SC[:, 0], whole.values_SC[:, 0] - 1)
    np.testing.assert_array_equal(whole.surprise_S, whole.values_SC[:, 0])
    assert whole.version == "v3"
    alone = _piece(5, 3, 1.0)
    assert replace(joined([alone]), header=alone.header).values_SC.tolist() == alone.values_SC.tolist()
