"""When an incident of the season family opens and ends: a pure state machine over what is said of each slot.

An incident opens when two of three slots are as surprising as the threshold, stays open while its slots or the average
that opened it are outside what was expected without it, and ends with the last such slot. Windows that still contain
an ended incident are not heard: they would open it again.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.season import SAME, STATISTICS, slots_of


@dataclass(frozen=True)
class Rules:
    """What the machine goes by; surprises in decades, times in slots."""

    windows: tuple[int, ...]  # slots that each column of the surprises looks back, with the wait for a block to be complete
    quiet: int  # slots within expectation after which an incident has ended
    opens: float = 4.0
    outside: float = 2.0  # short surprise of a slot that is outside on its own
    leaning: float = 1.3  # the same of one that a longer average must confirm


@dataclass(frozen=True)
class State:
    """Where a row stands; `opened` is −1 between incidents."""

    opened: int = -1
    last: int = -1  # newest slot of the incident that was outside
    peak: float = 0.0
    column: int = 0  # statistic that was most surprised at the onset
    ended: int = -(10**9)  # last slot of the incident before
    hot: tuple[int, ...] = ()  # newest slots as surprising as the threshold


class Ended(NamedTuple):
    """An incident that is over, with its first and last slot."""

    opened: int
    last: int
    peak: float
    column: int


def rules(interval_s: int, block_s: int, opens: float = 4.0) -> Rules:
    """Rules of rows of an interval: five slots or five minutes, whichever is longer, end an incident."""
    windows = [
        slots_of(s.seconds, interval_s) if s.fine else (slots_of(s.seconds, block_s) + 1) * (block_s // interval_s)
        for s in STATISTICS
    ]
    return Rules((*windows, 0, 0), max(5, 300 // interval_s), opens)


def step(state: State, rule: Rules, at: int, each_S: NDArray[np.float32], short: float) -> tuple[State, Ended | None]:
    """The state after one more slot, and the incident that ended with it."""
    heard = each_S
    if at - state.ended <= max(rule.windows):
        heard = np.where(at - state.ended > np.asarray(rule.windows), each_S, 0.0)
    column = int(heard.argmax())
    most = float(heard[column])
    hot = tuple(t for t in state.hot if at - t < 3)
    if most >= rule.opens:
        hot = (*hot, at)
    state = replace(state, hot=hot)
    if state.opened < 0:
        if len(hot) < 2 or most < rule.opens:
            return state, None
        return replace(state, opened=at, last=at, peak=most, column=column), None
    if short >= rule.outside or (most >= rule.opens and (short >= rule.leaning or column == SAME)):
        return replace(state, last=at, peak=max(state.peak, most)), None
    if at - state.last < rule.quiet:
        return state, None
    over = Ended(state.opened, state.last, state.peak, state.column)
    return State(ended=state.last), over
