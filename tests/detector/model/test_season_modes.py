"""What a row's modes say of its newest slots.

Shapes: R rows, L slots
"""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from detector.model.views.runs import CONTEXT
from detector.model.views.season_modes import CARRIED, MODES, Modes, score_modes

INF = torch.inf
# Of two rows: one that rests at 0 and runs at 10, for 50 slots at most, and one without modes.
LOW, HIGH = (
    torch.tensor([[-INF, 8.0, torch.nan, torch.nan], [0.0] * MODES]),
    torch.tensor([[1.0, INF, torch.nan, torch.nan], [0.0] * MODES]),
)
KNOWN = Modes(LOW, HIGH, torch.tensor([[INF, 50.0, INF, INF], [0.0] * MODES]), torch.tensor([6.0, 0.0]))


def said(values: Tensor, count: int | None = None) -> Tensor:
    """Of a stay and of changes, at each of the newest slots (all) of the first row; the second says nothing."""
    found_RL2, _ = score_modes(KNOWN, torch.stack([values, values]), count or len(values))
    assert not found_RL2[1].any()
    return found_RL2[0]


def runs(*parts: tuple[float, int]) -> Tensor:
    return torch.cat([torch.full((many,), value) for value, many in parts])


def test_a_stay_is_surprising_from_when_it_is_longer_than_ever_until_it_ends() -> None:
    found_L2 = said(runs((0.0, 100), (10.0, 90), (0.0, 30)))
    assert (found_L2[:, 0] > 6.0).nonzero().flatten().tolist() == list(range(150, 190))
    assert found_L2[:, 0].max() == found_L2[189, 0]
    assert not found_L2[:, 1].any()


def test_noise_and_gaps_on_the_way_interrupt_no_stay() -> None:
    stay = runs((0.0, 20), (10.0, 40), (30.0, 3), (torch.nan, 4), (10.0, 20), (0.0, 9))
    assert said(stay)[:, 0].nonzero().flatten().tolist() == list(range(70, 87))


def test_what_is_at_no_mode_for_long_ends_a_stay() -> None:
    for value, many, stays in ((5.0, CARRIED, True), (5.0, CARRIED + 1, False), (-9.0, 1, False)):
        assert said(runs((10.0, 40), (value, many), (10.0, 15)))[-1, 0].bool() == stays


def test_to_and_fro_more_often_than_ever_until_it_rests() -> None:
    flapping = torch.tensor([0.0, 10.0]).repeat_interleave(2).repeat(10)
    found_L2 = said(torch.cat([runs((0.0, 60)), flapping, runs((10.0, 40))]))
    surprising = found_L2[:, 1].nonzero().flatten().tolist()
    assert surprising == list(range(74, 96 + 8))  # from the seventh change on, while two of eight slots have one
    assert not said(runs((0.0, 9), (10.0, 9), (0.0, 9), (10.0, 9)))[:, 1].any()


@given(st.lists(st.sampled_from([0.0, 10.0, 5.0, torch.nan]), min_size=3, max_size=60), st.integers(1, 200), st.data())
def test_scores_depend_on_the_data_alone(values: list[float], longest: int, data: st.DataObject) -> None:
    """Not on how many slots before the ones that count are looked at."""
    x = torch.cat([runs((value, data.draw(st.integers(1, longest)))) for value in values])
    if len(x) <= CONTEXT + CARRIED:
        return
    count = data.draw(st.integers(1, min(50, len(x) - CONTEXT)))
    assert torch.equal(said(x, count), said(x[-count - CONTEXT :], count))


def test_ranges_that_overlap_in_a_foreign_artefact_are_survived() -> None:
    odd = KNOWN._replace(low_RM=torch.full((2, MODES), -INF), high_RM=torch.full((2, MODES), INF))
    assert score_modes(odd, torch.rand(2, 700), 50)[0].isfinite().all()
