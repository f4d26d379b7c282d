"""Students of clean waves: how many pass the trainer's gate, and what they alert on in fresh slots (decision 016).

PYTHONPATH=. OMP_NUM_THREADS=1 python bench/clean_waves.py

Shapes: K scored slots
"""

from pathlib import Path

import numpy as np

from detector.incidents.machine import Rules
from detector.model.interface import Segment
from streamer.demo.control_streams import UNTOUCHED
from testkit.simulation import fitted_bank, history, openings
from trainer.settings import TrainerSettings

STREAMS, FRESH = 24, 4000


def main() -> None:
    """A line a length of history."""
    settings = TrainerSettings.model_validate({"teacher": "none", "state_dir": Path(".state/clean_waves")})
    for slots in (300, 600, 1200, 2400):
        starts = [17_900_000_000 + 7919 * i for i in range(STREAMS)]
        waves = [UNTOUCHED.values(at, at + slots + FRESH).astype(np.float32)[:, None] for at in starts]
        trained, bank = fitted_bank([history(f"w{i}", x[:slots]) for i, x in enumerate(waves)], settings)
        scores = bank.score([Segment(f"w{i}", x, FRESH) for i, x in enumerate(waves)])
        alerts = sum(len(openings(score.surprise_K, Rules(threshold=4.0))) for score in scores)
        print(f"{slots} slots: {sum(v.passed for v in trained.results)} of {STREAMS} pass, {alerts} false alerts")


if __name__ == "__main__":
    main()
