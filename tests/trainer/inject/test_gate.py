"""What the gate injects, and where."""

import numpy as np
import pytest

from trainer.inject.gate import LENGTH, inject, newest_whole
from trainer.inject.kinds import PLAIN


def _walk(slots: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(slots, channels)).cumsum(0).astype(np.float32)


@pytest.mark.parametrize("kind", PLAIN)
def test_only_the_newest_slots_change(kind: str) -> None:
    values_SC = _walk(300)
    made = inject(values_SC, kind, 1)
    np.testing.assert_array_equal(made[:-LENGTH], values_SC[:-LENGTH])
    assert (made[-LENGTH:] != values_SC[-LENGTH:]).any(0).all()
    np.testing.assert_array_equal(made, inject(values_SC, kind, 1))


@pytest.mark.parametrize("kind", PLAIN)
def test_a_channel_without_data_before_is_no_trouble(kind: str) -> None:
    values_SC = _walk(300)
    values_SC[:-LENGTH, 1] = np.nan
    assert np.isfinite(inject(values_SC, kind, 0)[-LENGTH:]).all()


def test_gaps_at_the_end_are_passed_over() -> None:
    values_SC = _walk(300)
    np.testing.assert_array_equal(newest_whole(values_SC, 100), values_SC[200:])
    values_SC[250:] = np.nan
    np.testing.assert_array_equal(newest_whole(values_SC, 100), values_SC[269 - 100 : 269])
    nothing = np.full((300, 2), np.nan, np.float32)
    np.testing.assert_array_equal(newest_whole(nothing, 100), nothing[200:])
