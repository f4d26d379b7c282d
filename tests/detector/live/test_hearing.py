"""Channels that end while their stream goes on."""

import numpy as np

from detector.live.hearing import Hearing

LIMIT = 30


def heard(pattern: list[list[bool]], hearing: Hearing | None = None, begin: int = 0) -> tuple[Hearing, list[int]]:
    """Slots in which these channels came; returns every slot at which the second one counted as ended."""
    hearing = hearing or Hearing()
    ended = []
    for slot, there in enumerate(pattern, begin):
        hearing.hear(slot, np.array(there))
        if 1 in hearing.ended(slot, LIMIT):
            ended.append(slot)
    return hearing, ended


def test_a_channel_that_ends() -> None:
    hearing, ended = heard([[True, True]] * 20 + [[True, False]] * 40)
    assert ended == list(range(19 + LIMIT + 1, 60))
    assert hearing.heard_at(1) == 19
    assert heard([[True, True]], hearing, 60)[1] == []


def test_all_channels_of_a_stream_of_nulls() -> None:
    hearing, _ = heard([[True, True]] * 20 + [[False, False]] * 40)
    assert hearing.ended(59, LIMIT) == [0, 1]


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
    hearing = Hearing()
    assert hearing.unheard(2) == [0, 1]
    hearing.hear(5, np.array([True, False]))
    assert hearing.unheard(2) == [1]
    hearing.hear(6, None)
    assert hearing.unheard(2) == []
