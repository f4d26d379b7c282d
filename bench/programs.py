"""A machine that runs one program for two days and then another, for `anomalyllm backtest`.

  python bench/programs.py FOLDER
  anomalyllm backtest FOLDER --live --history 8192 --json R.json

Slots of 10 s, so that a ring holds 23 hours. Streams 0 and 1 have two programs, 2 and 3 three; in each a cycle stands still
for 70 slots twice, weeks after all programs have been seen. What else alerts, but for the first change, is a program forgotten.
"""

import argparse
import json
from pathlib import Path

import numpy as np

SLOTS, TRAIN, HELD = 17_280, 8_192, 70  # of a program at a time, learnt from, of an event
CYCLE = ((44, 50), (60, 66), (30, 34))  # slots, by program


def program(rng: np.random.Generator, kind: int) -> np.ndarray:
    """Cycles of one program, no two of the same length."""
    cycles: list[np.ndarray] = []
    while sum(map(len, cycles)) < SLOTS:
        phase = np.linspace(0, 1, int(rng.integers(*CYCLE[kind])), endpoint=False)
        ramp = np.where(phase < 0.3, 20 + 200 * phase, np.where(phase < 0.7, 80, 80 - 70 * (phase - 0.7) / 0.3))
        wave = 40 + 30 * np.sin(2 * np.pi * phase) + 10 * np.sin(6 * np.pi * phase)
        steps = np.where(phase < 0.5, 70, 25) + 10 * np.sin(8 * np.pi * phase)
        cycles.append((ramp, wave, steps)[kind] + rng.normal(size=len(phase)) * 1.5)
    return np.concatenate(cycles)[:SLOTS]


def main() -> None:
    """Writes the folder."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    folder: Path = options.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = np.random.default_rng(3), []
    for i in range(4):
        value = np.concatenate([program(rng, kind) for kind in ([0, 1] * 5 if i < 2 else [0, 1, 2] * 4)])
        label = np.zeros(len(value), np.uint8)
        events = [[at, at + HELD] for at in (len(value) - 40_000 + i * 777, len(value) - 9_000 + i * 555)]
        for first, end in events:
            value[first:end] = value[first] + rng.normal(size=HELD) * 1.5
            label[first:end] = 1
        name = f"program-{i}"
        np.savez(folder / f"{name}.npz", values=value[:, None].astype(np.float32), labels=label, train_end=TRAIN)
        made.append({
            "name": name, "file": f"{name}.npz", "length": len(value), "channels": 1, "train_end": TRAIN,
            "interval_s": 10, "start": "2024-01-01T00:00:00Z", "anomaly_ranges": events,
        })  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"series": made}))


if __name__ == "__main__":
    main()
