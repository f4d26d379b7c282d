"""Records of five weeks: how far beyond them is far.

Shapes: R rows, D days, K blocks of a day
"""

import numpy as np
import pytest
import torch

from detector.model.views.season_records import FIGURES, score_records, within
from trainer.fit.season_days import Days
from trainer.fit.season_records import joined, records

DAYS, PER_DAY = 20, 288


def days_of(values_DK: np.ndarray) -> Days:
    many = len(values_DK)
    at = torch.arange(many * PER_DAY)[None]
    value_RDK = torch.tensor(values_DK, dtype=torch.float32)[None]
    return Days(value_RDK, torch.zeros(1, dtype=torch.long), torch.arange(many)[None] % 7, at)


def saw(seed: int = 0) -> np.ndarray:
    """From 0 to 100 every half hour or so."""
    return np.random.default_rng(seed).uniform(0, 100, (DAYS, PER_DAY))


def known(values_DK: np.ndarray, grain: float = 0.0) -> torch.Tensor:
    """Records where each slot is a block."""
    days = days_of(values_DK)
    return records(days, days.value_RDK.flatten(1), days.at_RB, torch.tensor([grain]))


def beyond(values_DK: np.ndarray, *newest: float, grain: float = 0.0) -> float:
    record_RF = known(values_DK, grain)
    return float(score_records(record_RF, torch.tensor([newest]))[0, -1])


def test_two_blocks_that_are_far_beyond_all_that_there_was() -> None:
    assert beyond(saw(), 115.0, 115.0) > 6.0
    assert beyond(saw(), -15.0, -15.0) < -6.0
    assert beyond(saw(), 130.0, 130.0) > beyond(saw(), 115.0, 115.0)
    assert beyond(saw(), 99.0, 130.0) == beyond(saw(), 130.0, float("nan")) == beyond(saw(), 104.0, 104.0) == 0.0


def test_what_varies_from_day_to_day_may_go_further() -> None:
    grown = saw() * np.linspace(0.5, 1.0, DAYS)[:, None]
    assert beyond(grown, 130.0, 130.0) == 0.0
    assert beyond(grown, 190.0, 190.0) > 6.0


def test_one_step_more_of_what_comes_in_steps_is_not_far() -> None:
    steps = np.random.default_rng(1).integers(3, 9, (DAYS, PER_DAY)).astype(float)
    assert beyond(steps, 9.0, 9.0, grain=1.0) == 0.0
    assert beyond(steps, 11.0, 11.0, grain=1.0) > 6.0


@pytest.mark.parametrize("values", [np.full((DAYS, PER_DAY), 5.0), np.full((DAYS, PER_DAY), np.nan), saw()[:3]])
def test_of_what_has_not_moved_or_is_young_nothing_is_known(values: np.ndarray) -> None:
    assert not known(values).any()
    assert beyond(values, 1e6, 1e6) == 0.0


def band(record_RF: torch.Tensor, low: float = -400.0, mid: float = 50.0, high: float = 500.0) -> list[float]:
    ends = within(torch.tensor([[low]]), torch.tensor([[mid]]), torch.tensor([[high]]), record_RF)
    return [float(end[0, 0]) for end in ends]


def test_a_band_reaches_no_further_than_slots_with_that_room() -> None:
    record_RF = known(saw())
    low, high = band(record_RF)
    assert -25 < low < 0
    assert 100 < high < 125
    assert band(record_RF, 40.0, 50.0, 60.0) == [40.0, 60.0]
    assert band(torch.zeros(1, FIGURES)) == [-400.0, 500.0]


def test_a_band_holds_what_is_expected() -> None:
    assert band(known(saw()), 150.0, 200.0, 250.0) == [150.0, 200.0]
    assert band(known(saw()), -250.0, -200.0, -150.0) == [-200.0, -150.0]


def test_an_hourly_job_of_two_blocks_is_not_beyond_it() -> None:
    job = np.zeros((DAYS, PER_DAY))
    job[:, ::12] = 80.0
    assert 80.0 < band(known(job), 0.0, 0.0, 90.0)[1] < 90.0
    assert beyond(job, 80.0, 80.0) == 0.0
    assert beyond(job, 90.0, 90.0) > 6.0


def test_a_glitch_makes_no_record() -> None:
    glitch = saw()
    glitch[7, 5] = 65_535.0
    assert beyond(glitch, 115.0, 115.0) > 6.0
    assert beyond(glitch, -15.0, -15.0) < -6.0
    twice = glitch.copy()
    twice[11, 6] = 65_535.0
    assert beyond(twice, 115.0, 115.0) == 0.0  # it comes again: that is how it is


def test_a_level_that_was_left_is_known_as_well_as_the_present_one() -> None:
    both = joined(known(saw()), known(3 * saw()))
    low, high = band(both)
    assert 300 < high < 400
    assert low < 0
    assert [float(score_records(both, torch.tensor([[x, x]]))[0, 1]) for x in (50.0, 250.0)] == [0.0, 0.0]
    assert score_records(both, torch.tensor([[500.0, 500.0]]))[0, 1] > 6.0
    assert not joined(known(saw()), torch.zeros(1, FIGURES))[0, [1, 4]].any()


def test_slots_lie_as_far_from_their_blocks_as_they_do_now() -> None:
    days = days_of(saw())
    at_RL = days.at_RB[:, -6:].repeat_interleave(20, -1)
    slot_RL = days.value_RDK.flatten(1)[:, -6:].repeat_interleave(20, -1)
    slot_RL[:, int(slot_RL.argmax())] += 30.0
    high = [band(records(days, slot, at_RL, torch.zeros(1)))[1] for slot in (slot_RL, slot_RL - 60.0)]
    assert 130 < high[0] < 145
    assert 100 < high[1] < 115
