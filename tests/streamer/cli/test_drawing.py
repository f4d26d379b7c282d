"""Curves in a terminal."""

import numpy as np

from streamer.cli.drawing import LABEL, chart, marks, strip

NOTHING = np.full(40, np.nan)


def grid(lines: list) -> list[str]:  # type: ignore[type-arg]
    """The curve without its labels."""
    return [line.plain[LABEL:] for line in lines]


def test_a_step_is_drawn_once_low_and_once_high() -> None:
    values = np.concatenate([np.zeros(20), np.ones(20)])
    lines = grid(chart(values, NOTHING, NOTHING, np.zeros(40, bool), width=40, height=4))
    assert lines == [" " * 20 + "█" * 20, " " * 40, " " * 40, "█" * 20 + " " * 20]


def test_every_column_shows_its_extremes_and_a_spike_is_not_lost() -> None:
    values = np.zeros(4000)
    values[1234] = 5.0
    nothing = np.full(4000, np.nan)
    lines = grid(chart(values, nothing, nothing, np.zeros(4000, bool), width=50, height=5))
    assert lines[0].count("█") == 1
    assert lines[0].index("█") == 1234 * 50 // 4000


def test_the_band_lies_behind_and_a_wide_one_does_not_flatten_the_curve() -> None:
    values = np.sin(np.arange(40))
    low, high = np.full(40, -1e6), np.full(40, 1e6)
    lines = grid(chart(values, low, high, np.zeros(40, bool), width=40, height=8))
    assert sum("█" in line for line in lines) >= 4
    assert all(set(line) <= {"█", "░"} for line in lines)


def test_incidents_are_red_and_marked() -> None:
    marked = np.zeros(40, bool)
    marked[30:] = True
    lines = chart(np.arange(40.0), NOTHING, NOTHING, marked, width=40, height=4)
    red = {line.plain[span.start] for line in lines for span in line.spans if "red" in str(span.style)}
    assert red == {"█"}
    assert marks(marked, 40).plain == " " * 30 + "▔" * 10


def test_flat_empty_and_short_series() -> None:
    flat = grid(chart(np.full(3, 7.0), NOTHING[:3], NOTHING[:3], np.zeros(3, bool), width=40, height=5))
    assert sum(line.count("█") for line in flat) == 3
    assert "no values" in chart(NOTHING, NOTHING, NOTHING, np.zeros(40, bool))[0].plain
    assert strip(np.array([np.nan, 0.0, 6.0, 12.0]), 12.0, 40).plain == " ▁▅█"
