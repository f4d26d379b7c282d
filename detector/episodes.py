"""When an incident of the season family opens and ends: a pure state machine over what is said of each slot.

An incident opens when two of three slots are as surprising as the threshold, stays open while its slots or the average
that opened it are outside what was expected without it, and ends with the last such slot. Windows that still contain
an ended incident are not heard: they would open it again. What opens again within the hour is the same incident, reopened.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.season import SAME, STATISTICS, slots_of

# Hourly jobs that all take too long are one incident, and so is a leak under a sawtooth: what a window of its own says
# as soon as it is heard again, a quarter of an hour after it has left the incident behind, is more of the same.
_REJOIN_S = 3_900


@dataclass(frozen=True)
class Rules:
    """What the machine goes by; surprises in decades, times in slots."""

    windows: tuple[
        int, ...
    ]  # slots that each column of the surprises looks back, with the wait for a block to be complete
    quiet: int  # slots within expectation after which an incident has ended
    rejoin: tuple[int, ...] = ()  # by column: an incident that opens so soon after one of that column is the same again
    hits: int = 2  # of three slots that must be as surprising as the threshold
    opens: float = 5.0
    outside: float = 2.0  # short surprise of a slot that is outside on its own
    leaning: float = 1.3  # the same of the five minutes, where the incident is not one of single slots


@dataclass(frozen=True)
class State:
    """Where a row stands; `opened` is −1 between incidents."""

    opened: int = -1
    last: int = -1  # newest slot of the incident that was outside
    peak: float = 0.0
    column: int = 0  # statistic that was most surprised at the onset
    ended: int = -(10**9)  # last slot of the incident before
    before: int = -1  # its first slot
    before_peak: float = 0.0
    hot: tuple[int, ...] = ()  # newest slots as surprising as the threshold
    far: tuple[int, ...] = ()  # newest slots that are outside on their own


class Ended(NamedTuple):
    """An incident that is over, with its first and last slot."""

    opened: int
    last: int
    peak: float
    column: int


def rules(interval_s: int, block_s: int, opens: float = 5.0) -> Rules:
    """Rules of rows of an interval: five slots or five minutes, whichever is longer, end an incident."""
    windows = [
        slots_of(s.seconds, interval_s) if s.fine else (slots_of(s.seconds, block_s) + 1) * (block_s // interval_s)
        for s in STATISTICS
    ]
    rejoin = tuple(max(_REJOIN_S, 900 + w * interval_s) // interval_s for w in (*windows, 0, 0))
    return Rules((*windows, 0, 0), max(5, 300 // interval_s), rejoin, 2 if interval_s < 300 else 1, opens)


def step(state: State, rule: Rules, at: int, each_S: NDArray[np.float32]) -> tuple[State, Ended | None]:
    """The state after one more slot, and the incident that ended with it."""
    heard = each_S
    if at - state.ended <= max(rule.windows):
        heard = np.where(at - state.ended > np.asarray(rule.windows), each_S, 0.0)
    column = int(heard.argmax())
    most = float(heard[column])
    hot = tuple(t for t in state.hot if at - t < 3)
    if most >= rule.opens:
        hot = (*hot, at)
    far = tuple(t for t in state.far if at - t < 5)
    if each_S[0] >= rule.outside:
        far = (*far, at)
    state = replace(state, hot=hot, far=far)
    if state.opened < 0:
        if len(hot) < rule.hits or most < rule.opens:
            return state, None
        if state.before >= 0 and at - state.ended <= rule.rejoin[state.column]:
            # the column stays what it was: an incident is told by its onset
            return replace(state, opened=state.before, last=at, peak=max(most, state.before_peak)), None
        return replace(state, opened=at, last=at, peak=most, column=column), None
    if _outside(state, rule, each_S, most):
        return replace(state, last=at, peak=max(state.peak, most)), None
    if at - state.last < rule.quiet:
        return state, None
    over = Ended(state.opened, state.last, state.peak, state.column)
    return State(ended=state.last, before=state.opened, before_peak=state.peak, column=state.column), over


def _outside(state: State, rule: Rules, each_S: NDArray[np.float32], most: float) -> bool:
    """Whether the newest slot belongs to the incident.

    A single slot outside is chance (20 of 15 s stand in five minutes), two of five are not. The five minutes still hold
    an incident of single slots when it is over; one that only averages show is closed by them, and by slots at the median.
    """
    slot, minutes = float(each_S[0]), float(each_S[1])
    if max(float(each_S[SAME]), float(each_S[SAME + 1])) >= rule.outside:
        return True
    if slot >= rule.outside and len(state.far) >= min(2, rule.quiet):
        return True
    leaning = minutes >= rule.outside or (minutes >= rule.leaning and most >= rule.opens)
    return state.column != 0 and leaning and slot > 0.3
