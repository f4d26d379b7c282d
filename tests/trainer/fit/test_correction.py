"""How often a history alerts for the surprises it has, counted as the machine would."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.machine import Rules
from detector.model.fusion import CORRECTION_LEVEL, corrected
from testkit.simulation import openings
from trainer.fit.correction import correction, counts


@given(st.lists(st.floats(0, 8, width=32), min_size=1, max_size=120))
def test_incidents_are_counted_as_the_machine_opens_them(surprises: list[float]) -> None:
    opened = openings(np.array(surprises), Rules(threshold=CORRECTION_LEVEL, fatigue=False))
    every, doubtful = counts(torch.tensor([surprises]), CORRECTION_LEVEL, torch.tensor([9.0]))
    assert int(every) == int(doubtful) == len(opened)
    every, doubtful = counts(torch.tensor([surprises]), CORRECTION_LEVEL, torch.tensor([0.0]))
    assert (int(every), int(doubtful)) == (len(opened), 0)


def test_anomalies_nobody_marked_are_no_reason_to_be_calm() -> None:
    slots = 20_000
    marked = torch.zeros(2, slots)
    for i in range(40):
        marked[:, i * 300 : i * 300 + 2] = 3.0
    marked[1, ::1000] = 9.0
    plain, contaminated = correction(marked, torch.zeros(2, dtype=torch.bool)).tolist()
    assert plain < 0
    assert contaminated <= plain


def test_a_history_that_keeps_its_promise_needs_no_correction_and_clusters_make_it_bolder() -> None:
    slots = 20_000
    promised = round(slots * 10.0**-CORRECTION_LEVEL)
    apart, together, often = torch.zeros(3, slots)
    for i in range(promised):
        apart[i * 300 : i * 300 + 2] = 3.0
        together[100 + i] = 3.0
    for i in range(500):
        often[i * 40 : i * 40 + 2] = 3.0
    none, bolder, calmer = correction(torch.stack([apart, together, often]), torch.zeros(3, dtype=torch.bool)).tolist()
    assert abs(none) < 0.02
    assert bolder < -0.7
    assert calmer > 0.7


def test_streams_with_shapes_are_only_made_calmer_and_short_or_empty_histories_say_little() -> None:
    quiet = torch.zeros(3, 20_000)
    quiet[1, 300:] = torch.nan
    quiet[2] = torch.nan
    shaped = torch.tensor([True, False, False])
    assert correction(quiet, shaped).tolist()[0] == 0
    short, empty = correction(quiet, shaped).tolist()[1:]
    assert -0.3 < short < 0
    assert empty == 0


def test_a_correction_keeps_the_order_of_slots_and_what_is_missing() -> None:
    surprise = torch.linspace(0, 12, 400).repeat(3, 1)
    surprise[:, 7] = torch.nan
    out = corrected(surprise, torch.tensor([-1.0, 0.0, 1.5])).numpy()
    assert np.isnan(out[:, 7]).all()
    kept = np.delete(out, 7, axis=1)
    assert (np.diff(kept, axis=1) >= 0).all()
    np.testing.assert_allclose(kept[:, -1], [13.0, 12.0, 10.5])
    np.testing.assert_allclose(kept[1], np.delete(surprise[1].numpy(), 7))
    assert math.isclose(kept[0, 0], 0.0)
