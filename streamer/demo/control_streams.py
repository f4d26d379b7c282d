"""Two generated control streams of the demo: one gets a known anomaly, the other is left alone.

Both are the same kind of wave with noise, a function of the slot number and a seed only, so that what is
published as history and what is published live join without a seam.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INTERVAL_S = 0.1
# 32 slots a period: several periods fit into every window the detector looks at.
PERIOD_SLOTS = 32
NOISE = 0.05


@dataclass(frozen=True)
class Control:
    """A control stream: `values` of any span of slots, with the anomaly (if any) laid over [start, stop)."""

    name: str
    seed: int

    def values(self, start: int, stop: int, anomaly: tuple[int, int] | None = None) -> npt.NDArray[np.float64]:
        """Values of slots [start, stop), (stop - start,); inside `anomaly` the wave runs three times as fast.

        The anomaly keeps the range of the wave nearly as it is: no threshold on the value would find it.
        """
        slots = np.arange(start, stop)
        phase = 2 * np.pi * slots / PERIOD_SLOTS + self.seed
        wave = np.sin(phase) + 0.3 * np.sin(2 * phase)
        if anomaly is not None:
            inside = (slots >= anomaly[0]) & (slots < anomaly[1])
            wave = np.where(inside, 1.2 * np.sin(3 * phase), wave)
        return 10.0 + wave + NOISE * self._noise(slots)

    def _noise(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        # Counter-based, so that any span gives the same numbers: a splitmix64 hash of (seed, slot), whose
        # four uniform 16-bit parts sum up to a fair bell shape of unit variance.
        with np.errstate(over="ignore"):
            mixed = slots.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.seed + 1)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
        parts = np.stack([(mixed >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)])
        uniform = parts.astype(np.float64) / 65535.0 - 0.5
        normal: npt.NDArray[np.float64] = uniform.sum(axis=0) * np.sqrt(3.0)
        return normal


INJECTED = Control("control.injected", seed=1)
UNTOUCHED = Control("control.untouched", seed=2)
