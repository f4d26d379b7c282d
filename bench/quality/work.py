"""What the benchmark's processes do for a baseline: score, and take the figures that the backtest takes.

Shapes: N training slots, K test slots, S slots of both together, C channels
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from bench.quality import baselines
from bench.quality.baselines import BASELINES, fused
from trainer.backtest import metrics, vus
from trainer.backtest.metrics import LATENCIES, areas, buffer_of, rounded
from trainer.backtest.series import Series

# Their code, not the detector's: a change of the detector leaves their results standing.
CODE = (baselines.__file__, metrics.__file__, vus.__file__, __file__)


def digest_of(*named: object) -> str:
    """Names a result by what it depends on."""
    return hashlib.sha256(orjson.dumps(named)).hexdigest()[:32]


@dataclass(frozen=True)
class BaselineWork:
    """One baseline over any series."""

    name: str
    state_dir: Path
    code: str
    latency: int = 8
    seed: int = 0

    def key(self, series: Series) -> str:
        """Names the result."""
        return digest_of(self.name, self.seed, series.digest(), self.code)

    def complete(self, name: str) -> bool:
        """Nothing is made beside the result."""
        return True

    def make(self, series: Series) -> dict[str, Any]:
        """Figures of both latencies; a baseline has no alerts."""
        torch.set_num_threads(1)
        baseline = next(b for b in BASELINES if b.name == self.name)
        start = series.train_end
        training_NC, test_KC = series.values_SC[:start], series.values_SC[start:]
        begun = time.process_time()
        score_K, lag = fused(baseline, training_NC, test_KC, self.seed)
        seconds = time.process_time() - begun
        buffer = buffer_of(training_NC)
        lag_K = torch.full((len(score_K),), lag).numpy()
        return {
            "slots": len(score_K),
            "channels": test_KC.shape[1],
            "seconds": round(seconds, 3),
            **{
                f"latency_{at}": rounded(
                    areas(score_K, lag_K, series.test_labels_K, series.test_found_within, buffer, at)
                )
                for at in LATENCIES
            },
        }
