"""Levels that a row stays at for weeks, and rows that have none."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.model.views.season import DAY_S, LEVELS
from trainer.fit.season_days import History, block_of
from trainer.fit.season_levels import levels

PER_BLOCK, BLOCK_S = 5, 300
BLOCKS = 21 * DAY_S // BLOCK_S
RING = 8192


def history(value: np.ndarray, out: slice | None = None) -> History:
    slot = torch.from_numpy(value.astype(np.float32))[None]
    when = (torch.arange(slot.shape[1]) * BLOCK_S // PER_BLOCK)[None]
    out_RL = torch.zeros(slot.shape, dtype=torch.bool)
    if out is not None:
        out_RL[:, out] = True
    return History(
        slot.view(1, -1, PER_BLOCK).mean(-1), when[:, ::PER_BLOCK], slot[:, -RING:], when[:, -RING:],
        BLOCK_S // PER_BLOCK, BLOCK_S, out_RL.view(1, -1, PER_BLOCK).any(-1), out_RL[:, -RING:], torch.zeros(1),
    )  # fmt: skip


def known(h: History) -> tuple[Tensor, Tensor]:
    [level_V], [around_V] = levels(h, block_of(h))
    return level_V[around_V > 0], around_V[around_V > 0]


def routes(seed: int = 0, of: tuple[float, ...] = (10.0, 12.0, 16.0), hours: float = 20) -> np.ndarray:
    """Milliseconds on one of some routes, changed every so many hours, in the midst of a block."""
    rng = np.random.default_rng(seed)
    at = np.zeros(BLOCKS * PER_BLOCK)
    begin, turn = 0, 0
    while begin < len(at):
        end = begin + int(rng.uniform(0.5, 1.5) * hours * 60)
        at[begin:end] = of[turn % len(of)]
        begin, turn = end, turn + 1
    return at * (1 + rng.gamma(1.5, 0.006, len(at)))


def test_levels_of_weeks_are_known_though_the_ring_is_six_days() -> None:
    value = routes()
    value[-RING:] = 10.0 * (value[-RING:] / value[-RING:].round())  # for which it has not left the first
    at, around = known(history(value))
    assert at.tolist() == pytest.approx([10.1, 12.1, 16.1], abs=0.2)
    assert (around < 0.45 * 2.0 + 0.1).all()
    assert (around > 0.1).all()


@pytest.mark.parametrize("what", ["wanders", "one level", "saw", "counts", "too many levels"])
def test_rows_that_do_not_leap_between_levels_have_none(what: str) -> None:
    rng = np.random.default_rng(1)
    size = BLOCKS * PER_BLOCK
    value = {
        "wanders": 50 + np.cumsum(rng.normal(size=size)),
        "one level": 10 + rng.normal(size=size),
        "saw": 30 + 60 * (np.arange(size) / 2000 % 1) + rng.normal(size=size),
        "counts": rng.poisson(3.0, size),
        "too many levels": routes(2, tuple(10.0 * 1.3**i for i in range(LEVELS + 4))),
    }[what]
    assert not len(known(history(value))[0])


def test_where_it_has_been_once_and_not_for_long_is_no_level() -> None:
    value = routes()
    value[7200:7500] = 30.0
    assert len(known(history(value))[0]) == 3
    value[7200:8100] = 30.0  # 15 hours
    assert len(known(history(value))[0]) == 4


def test_what_incidents_covered_is_not_learnt() -> None:
    value = routes()
    value[7200:8100] = 30.0
    assert len(known(history(value, slice(7180, 8120)))[0]) == 3


def test_holes_and_nothing_at_all() -> None:
    value = routes()
    value[3000:3400] = np.nan
    assert len(known(history(value))[0]) == 3
    assert not len(known(history(np.full(BLOCKS * PER_BLOCK, np.nan)))[0])
    assert not len(known(history(np.full(BLOCKS * PER_BLOCK, 7.0)))[0])


def test_two_short_outages_are_no_level() -> None:
    value = routes(of=(100.0, 130.0))
    for begin in (5 * 1440, 15 * 1440):
        value[begin : begin + 35] = 0.0
    assert len(known(history(value))[0]) == 2


def test_blocks_of_slots_are_found_by_their_clock() -> None:
    """Also where slots reach further back than blocks do, are not complete yet, or clocks have been changed."""
    h = history(routes())
    assert torch.equal(block_of(h), (torch.arange(RING) + BLOCKS * PER_BLOCK - RING)[None] // PER_BLOCK)
    later = h._replace(block_RB=h.block_RB[:, -9:-1], block_local_RB=h.block_local_RB[:, -9:-1])
    assert block_of(later)[0, [0, -46, -45, -6, -5, -1]].tolist() == [-1, -1, 0, 7, -1, -1]
    spring = 3600 * (torch.arange(BLOCKS) >= BLOCKS - 500)
    slots = spring.repeat_interleave(PER_BLOCK)[-RING:]
    moved = h._replace(block_local_RB=h.block_local_RB + spring, slot_local_RL=h.slot_local_RL + slots)
    assert torch.equal(block_of(moved), block_of(h))
