"""Channels that end while their stream goes on."""

import numpy as np

from detector.live.channel_gaps import ChannelGaps

LIMIT = 30


def heard(pattern: list[list[bool]], gaps: ChannelGaps | None = None, begin: int = 0) -> tuple[ChannelGaps, list[int]]:
    """Slots in which these channels came; returns every slot at which the second one counted as ended."""
    gaps = gaps or ChannelGaps()
    ended = []
    for slot, there in enumerate(pattern, begin):
        gaps.note(slot, np.array(there))
        if 1 in gaps.ended(slot, LIMIT):
            ended.append(slot)
    return gaps, ended


def test_a_channel_that_ends() -> None:
    gaps, ended = heard([[True, True]] * 20 + [[True, False]] * 40)
    assert ended == list(range(19 + LIMIT + 1, 60))
    assert gaps.newest(1) == 19
    assert heard([[True, True]], gaps, 60)[1] == []


def test_all_channels_of_a_stream_of_nulls() -> None:
    gaps, _ = heard([[True, True]] * 20 + [[False, False]] * 40)
    assert gaps.ended(59, LIMIT) == [0, 1]


def test_channels_that_come_one_after_the_other() -> None:
    assert heard([[True, False], [False, True]] * 50)[1] == []


def test_a_channel_that_comes_once_in_a_while() -> None:
    assert heard(([[True, True]] + [[True, False]] * 59) * 12)[1] == []
    # Ten minutes at a time, of a channel that came each second before: told twice, then it is its habit.
    _, ended = heard([[True, True]] * 20 + ([[True, False]] * 600 + [[True, True]]) * 6)
    assert max(ended) < 20 + 2 * 601


def test_a_channel_that_came_a_few_times_only() -> None:
    assert heard([[True, True]] * 3 + [[True, False]] * 100)[1] == []


def test_a_worker_that_starts_knows_nothing_of_a_channel_until_it_is_heard() -> None:
    gaps = ChannelGaps()
    assert gaps.never_seen(2) == [0, 1]
    gaps.note(5, np.array([True, False]))
    assert gaps.never_seen(2) == [1]
    gaps.note(6, None)
    assert gaps.never_seen(2) == []
