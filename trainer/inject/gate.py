"""A few plain synthetic anomalies: the least that a student must see before it is put into force.

Shapes: S slots of a stream's values, C channels, R rows (stream, channel), L slots of a row, A = 1 anomaly of a row,
J slots of it
"""

import numpy as np
import numpy.typing as npt
import torch

from trainer.inject.kinds import PLAIN, SPIKE, SPIKE_SLOTS, Stretch
from trainer.inject.splice import Injected, spliced

Values = npt.NDArray[np.float32]
LENGTH = 40  # slots an injected anomaly lasts, and in which it must be seen


def inject(values_SC: Values, kind: str, seed: int) -> Values:
    """A copy whose newest `LENGTH` slots hold an anomaly of a kind of `PLAIN`, in all channels. Deterministic.

    A channel without data before them is taken for a constant 0.
    """
    cut, channels = len(values_SC) - LENGTH, values_SC.shape[1]
    before_SC = np.where(np.isfinite(values_SC[:cut]).any(0), values_SC[:cut], np.float32(0.0))
    x_RS = torch.from_numpy(np.ascontiguousarray(values_SC.T))
    onset_RA = torch.full((channels, 1), cut)
    length_RA = torch.full((channels, 1), SPIKE_SLOTS if kind == SPIKE else LENGTH)
    up = float(np.random.default_rng(seed).choice([0.0, 1.0]))
    noise_JC = np.random.default_rng(seed).standard_normal((LENGTH, channels))
    stretch = Stretch(
        x_RL=x_RS,
        value_RAJ=x_RS[:, None, cut:],
        onset_RA=onset_RA,
        length_RA=length_RA,
        level_RA1=torch.from_numpy(np.nanmedian(before_SC, axis=0))[:, None, None],
        spread_RA1=torch.from_numpy(_spread(before_SC))[:, None, None],
        period_R11=torch.ones(channels, 1, 1),
        first_R=torch.zeros(channels, dtype=torch.long),
        noise=torch.from_numpy(noise_JC.T)[:, None],
        u_A1=(torch.tensor([[up]]), torch.zeros(1, 1)),
    )
    made = Injected(PLAIN[kind](stretch).float(), onset_RA, length_RA)
    row_R = torch.arange(channels)
    out_RS = spliced(x_RS, made, row_R, row_R, torch.arange(len(values_SC)).expand(channels, -1))
    return np.ascontiguousarray(out_RS.numpy().T)


def newest_whole(values_SC: Values, slots: int) -> Values:
    """At most so many slots, of which the newest `LENGTH` have data in more than half; the newest ones if there are none.

    What lies after them is a gap, or an anomaly that is never learnt from.
    """
    many_S = np.convolve(np.isfinite(values_SC).any(1), np.ones(LENGTH), "valid")
    [whole] = np.nonzero(many_S > LENGTH / 2)
    stop = int(whole[-1]) + LENGTH if len(whole) else len(values_SC)
    return values_SC[max(0, stop - slots) : stop]


def _spread(values_SC: Values) -> Values:
    """Standard deviation of each channel; of an exact constant 5 % of its level, or 1."""
    spread_C = np.nanstd(values_SC, axis=0)
    level_C = np.abs(np.nanmedian(values_SC, axis=0))
    return np.where(spread_C > 0, spread_C, np.where(level_C > 0, 0.05 * level_C, 1.0)).astype(np.float32)
