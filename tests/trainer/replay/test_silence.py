"""Silence by the times in the data."""

from itertools import pairwise

import numpy as np
import pytest

from streamer.contracts import StreamSettings
from streamer.timestamps import NS, format_ns
from streamer.windows.header import StreamHeader
from trainer.replay.silence import Stop, silences, stops

T0 = 1_767_225_600
END = (T0 + 1000) * NS


def _instants(*spans: tuple[int, int]) -> np.ndarray:
    made: np.ndarray = (np.concatenate([np.arange(*span) for span in spans]) + T0) * NS
    return made


def _header() -> StreamHeader:
    return StreamHeader(state="grid", grid_version=1, interval_ns=NS, channels=["value"])


def test_a_stop_and_a_return_are_one_incident_each() -> None:
    found = silences({"a": _instants((0, 300), (400, 500))}, {"a": _header()}, {}, 5.0, T0 * NS, END)
    assert [event.data.state for event in found] == ["resolved", "open"]
    back, gone = (event.data for event in found)
    assert (back.started_at, back.ended_at) == (format_ns((T0 + 300) * NS), format_ns((T0 + 400) * NS))
    assert back.reason == "a sends again after 100 s without data"
    assert gone.reason == "a has sent nothing for 30 s (30 intervals)"
    assert gone.started_at == format_ns((T0 + 500) * NS)
    assert gone.ended_at is None
    assert not gone.historic


def test_shorter_pauses_and_other_settings() -> None:
    instants = {"a": _instants((0, 300), (325, 1000))}
    assert silences(instants, {"a": _header()}, {}, 5.0, T0 * NS, END) == []
    eager = {"a": StreamSettings(no_data_after=20)}
    assert len(silences(instants, {"a": _header()}, eager, 5.0, T0 * NS, END)) == 1
    assert silences(instants, {}, eager, 5.0, T0 * NS, END) == []  # on no grid: not judged


@pytest.mark.parametrize(("streams", "told"), [(3, 3), (4, 0)])
def test_many_that_stop_together_are_their_network(streams: int, told: int) -> None:
    every = {f"s{i}": _instants((0, 300), (400, 1000)) for i in range(streams)}
    headers = dict.fromkeys(every, _header())
    assert len(silences(every, headers, {}, 5.0, T0 * NS, END)) == told
    every["s0"] = _instants((0, 300), (410, 1000))
    goes_on = {**every, "other": _instants((0, 1000))}
    found = silences(goes_on, {**headers, "other": _header()}, {}, 5.0, T0 * NS, END)
    assert len(found) == streams


def test_only_what_becomes_an_incident_while_it_is_judged() -> None:
    ns_N = np.array([0, 100, 200, 300])
    found = [stop for _, stop in stops({"a": ns_N}, {"a": 50}, 120, 300)]
    assert found == [Stop(a, b) for a, b in pairwise(ns_N.tolist()) if 120 <= a + 50 < 300]
