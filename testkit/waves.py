"""Small data for the tests of the backtest.

Shapes: S slots of a series, C channels
"""

import json
from pathlib import Path

import numpy as np

from streamer.timestamps import NS
from trainer.backtest.series import Series
from trainer.backtest.settings import BacktestSettings

TRAIN, TEST = 600, 400
BURST = slice(800, 820)  # rows of the test part where the wave is something else


def settings_of(folder: Path, **own: object) -> BacktestSettings:
    """No teacher, everything under `folder`; of slots of a second one in 10 000 may alert."""
    return BacktestSettings.model_validate({"state_dir": folder / "state", "alerts_per_week": 60.48, **own})


def waves(seed: int = 0, channels: int = 1, burst: bool = True) -> Series:
    """A noisy wave of 40 slots; in the test part 20 slots of it are lifted."""
    rng = np.random.default_rng(seed)
    slot = np.arange(TRAIN + TEST)[:, None]
    values_SC = np.sin(2 * np.pi * (slot / 40 + rng.random(channels))) + 0.1 * rng.normal(size=(len(slot), channels))
    labels_S = np.zeros(len(slot), bool)
    if burst:
        values_SC[BURST, 0] += 6.0
        labels_S[BURST] = True
    names = tuple(f"c{c}" for c in range(channels)) if channels > 1 else ("value",)
    found = (BURST.start - 100, BURST.stop + 100) if burst else None
    return Series(f"wave-{seed}", values_SC.astype(np.float32), TRAIN, labels_S, names, found)


def write_folder(folder: Path, series: list[Series]) -> Path:
    """A folder with index.json, as `anomalyllm backtest` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for one in series:
        assert one.labels_S is not None
        file = f"{one.name}.npz"
        np.savez_compressed(
            folder / file, values=one.values_SC, labels=one.labels_S.astype(np.uint8), train_end=one.train_end
        )
        entry: dict[str, object] = {"name": one.name, "file": file, "length": len(one.values_SC)}
        if one.found_within is not None:
            entry |= {"anomaly_begin_name": BURST.start, "anomaly_end_name": BURST.stop}
        if one.timed:
            entry |= {"interval_s": one.interval_ns // NS, "start": one.at(0)}
        entries.append(entry)
    (folder / "index.json").write_text(json.dumps({"series": entries}))
    return folder
