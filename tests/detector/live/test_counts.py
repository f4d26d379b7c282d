"""Counts are those of a pass over all streams, and cost what has changed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.episode import Episode
from detector.incidents.record import NoData, StreamState
from detector.live.cache import Entry
from detector.live.counts import STAGES, Census, counted
from testkit.fakes import FakeBank, entry_of, state_of

NAMES = ["a", "b", "cold-c", "d"]
CHANGE = st.tuples(st.sampled_from(NAMES), st.sampled_from(["enter", "drop", "open", "close", "silent", "speaks"]))


@given(st.lists(CHANGE, max_size=40), st.integers(1, 7))
def test_counts_equal_a_pass_over_all_streams(changes: list[tuple[str, str]], every: int) -> None:
    entries: dict[str, Entry] = {}
    states: dict[str, StreamState] = {}
    census, bank = Census(), FakeBank()
    for number, (stream, change) in enumerate(changes):
        state = states.get(stream)
        if change == "enter":
            entries[stream] = entry_of(stream, np.full((20, 1), 10.0))
            states[stream] = state_of(entries[stream])
        elif change == "drop":
            entries.pop(stream, None)
            states.pop(stream, None)
        elif state is not None and change == "open":
            state.tracker.incident = Episode(1, 1, 4.0, 5.0, 1, 1)
        elif state is not None and change == "close":
            state.tracker.incident = None
        elif state is not None:
            state.no_data = NoData(1, 2) if change == "silent" else None
        census.mark(stream)
        if number % every == 0:
            census.refresh(entries, states, bank)
    census.refresh(entries, states, bank)
    whole = [counted(s, entries.get(s), states.get(s), bank) for s in NAMES]
    assert census.stages == {stage: sum(one.stage == stage for one in whole) for stage in STAGES}
    assert census.incidents == sum(one.incidents for one in whole)
    assert census.refresh(entries, states, bank) == 0
