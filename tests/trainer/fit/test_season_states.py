"""What few values a row has, and how long they last, is told by blocks where slots do not reach back."""

import torch

from detector.model.views.runs import CONTEXT
from trainer.fit.season_states import states


def row(*parts: tuple[float, int]) -> torch.Tensor:
    return torch.cat([torch.full((many,), value) for value, many in parts])[None]


def test_values_of_blocks_are_known_though_no_slot_has_them() -> None:
    few, value, longest = states(row((3.0, 40), (4.0, 60)), row((6.0, 4), (3.0, 2), (4.0, 3)), per_block=20)
    assert bool(few)
    assert value[0, :3].tolist() == [3.0, 4.0, 6.0]
    assert longest[0, :3].tolist() == [150.0, 150.0, 150.0]  # each has been there once


def test_of_few_stays_the_longest_says_little_of_how_long_one_may_be() -> None:
    stays = row(*[part for _ in range(12) for part in ((1.0, 20), (2.0, 10))], (3.0, 30))
    _, value, longest = states(stays, torch.full((1, 4), torch.nan), per_block=20)
    assert value[0, :3].tolist() == [1.0, 2.0, 3.0]
    assert longest[0, :3].tolist() == [25.0, 12.5, 120.0]


def test_stays_of_blocks_are_stays() -> None:
    nights = row(*[part for _ in range(12) for part in ((1.0, 3), (2.0, 4))])
    _, value, longest = states(row((1.0, 30), (2.0, 20)), nights, per_block=20)
    assert value[0, :2].tolist() == [1.0, 2.0]
    assert longest[0, :2].tolist() == [60 * 1.25, 80 * 1.25]


def test_a_block_of_its_own_is_no_state() -> None:
    few, value, _ = states(row((3.0, 40), (4.0, 60)), row((3.0, 2), (3.4, 1), (4.0, 3)), per_block=20)
    assert bool(few)
    assert value[0, :2].tolist() == [3.0, 4.0]
    assert torch.isnan(value[0, 2])


def test_the_longest_standstill_is_that_of_five_weeks() -> None:
    lively = torch.arange(100.0)[None]
    blocks = torch.cat([torch.arange(30.0), torch.zeros(9), torch.arange(30.0)])[None]
    few, value, longest = states(lively, blocks, per_block=20)
    assert not bool(few)
    assert torch.isnan(value).all()
    assert longest[0, 0] == 200.0  # the ten zeros
    assert states(lively, torch.zeros(1, 69), per_block=20)[2][0, 0] == CONTEXT


def test_means_that_are_equal_by_chance_are_no_standstill() -> None:
    lively = torch.arange(-10.0, 110.0)[None]
    blocks = torch.cat([torch.arange(30.0), torch.full((9,), 40.0), torch.arange(30.0)])[None]
    assert states(lively, blocks, per_block=20)[2][0, 0] == 1.0
    assert states(blocks, blocks, per_block=1)[2][0, 0] == 9.0


def test_gaps_are_no_value() -> None:
    nothing = torch.full((1, 50), torch.nan)
    few, value, longest = states(nothing, nothing, per_block=1)
    assert bool(few)
    assert torch.isnan(value).all()
    assert longest.sum() == 0


def test_blocks_are_stored_to_a_thousandth() -> None:
    few, value, longest = states(row((6000.0, 40), (800.0, 60)), row((5996.0, 9), (800.0, 9)), per_block=20)
    assert bool(few)
    assert value[0, :2].tolist() == [800.0, 6000.0]
    assert torch.isnan(value[0, 2])
    assert longest[0, :2].tolist() == [180.0, 180.0]
    lively = torch.cat([torch.arange(5000.0, 5100.0), torch.zeros(3)])[None]
    blocks = torch.cat([torch.arange(5000.0, 5030.0), torch.full((9,), 3.0), torch.arange(5000.0, 5030.0)])[None]
    assert states(lively, blocks, per_block=20)[2][0, 0] == 180.0  # nine blocks of next to nothing


def test_stays_that_are_unlike_each_other_allow_a_longer_one() -> None:
    def windy(*stays: int) -> torch.Tensor:
        parts = [torch.cat([torch.arange(1.0, 60.0), torch.zeros(stay)]) for stay in stays]
        return torch.cat([*parts, torch.arange(1.0, 60.0)])[None]

    nothing = torch.full((1, 4), torch.nan)
    assert states(windy(20, 20, 21), nothing, 5)[2][0, 0] == 21.0
    assert states(windy(10, 60, 20, 9, 9), nothing, 5)[2][0, 0] == 120.0
    assert states(windy(10, 30, 20, 9, 9), nothing, 5)[2][0, 0] == 45.0
    assert states(windy(60, 2, 2), nothing, 5)[2][0, 0] == 60.0  # one standstill of a row that never rests
    assert states(torch.arange(99.0)[None], windy(20, 4, 2)[0, :-59][None], 5)[2][0, 0] == 150.0


def test_a_weekend_of_zeros_makes_no_state_of_counts() -> None:
    rng = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((300, 20), 0.05), generator=rng)
    night = torch.zeros(600, 20)
    few, _, _ = states(torch.zeros(1, 400), torch.cat([counts, night]).mean(1)[None], per_block=20)
    assert not bool(few)
    flaps = row((0.0, 30), (3.0, 30), *[(v, 1) for v in (1.0, 2.0, 1.5, 2.5)])
    few, value, _ = states(row((0.0, 200), (5.0, 200)), flaps, per_block=20)
    assert bool(few)  # it flapped for 20 minutes once
    assert value[0, :3].tolist() == [0.0, 3.0, 5.0]


def test_states_of_slots_of_a_second_are_known_by_blocks() -> None:
    slots = row((0.0, 4000), (1.0, 4000))
    few, value, _ = states(slots, row((0.0, 90), (2.0, 100), (1.0, 90)), per_block=300)
    assert bool(few)
    assert value[0, :3].tolist() == [0.0, 1.0, 2.0]


def test_a_standstill_is_heard_of_some_day_however_unlike_stays_are() -> None:
    parts = [torch.cat([torch.arange(1.0, 60.0), torch.zeros(stay)]) for stay in (200, 45, 40)]
    longest = states(torch.cat([*parts, torch.ones(1)])[None], torch.full((1, 4), torch.nan), 5)[2][0, 0]
    assert 2 * longest < CONTEXT


def test_a_value_far_from_all_others_blurs_no_state() -> None:
    blocks = row((0.0, 30), (7.0, 30), (9999.0, 3))
    few, value, _ = states(row((0.0, 200), (1.0, 200), (9999.0, 20)), blocks, per_block=20)
    assert bool(few)
    assert value[0, :4].tolist() == [0.0, 1.0, 7.0, 9999.0]
