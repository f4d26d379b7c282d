"""The running mean that ranks beside the slots themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from trainer.backtest.ranking import sustained

RANKS = st.lists(st.one_of(st.floats(0, 12, width=32), st.just(float("nan"))), min_size=1, max_size=60)


def test_a_stretch_outranks_what_follows_it_by_a_fading_mean() -> None:
    assert_allclose(sustained(np.array([4, 4, 0, 0], np.float32)), [4, 4, 1.3125, 0.984375])


@given(RANKS, st.integers(1, 60))
def test_it_is_causal_keeps_gaps_and_the_worst_slot(ranks: list[float], cut: int) -> None:
    rank_K = np.array(ranks, np.float32)
    told_K = sustained(rank_K)
    assert_allclose(sustained(rank_K[:cut]), told_K[:cut])
    assert (np.isnan(told_K) == np.isnan(rank_K)).all()
    if not np.isnan(rank_K).all():
        assert np.nanmax(told_K) == np.nanmax(rank_K)
        assert np.nanargmax(told_K) == np.nanargmax(rank_K)
