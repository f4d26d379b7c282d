"""docs/method/*.png: pictures of the method, made by the product itself. `python -m bench.method_pictures docs/method`.

`replayed.png` is what `anomalyllm backtest --plot` draws of two weeks of a shop with three incidents in the last day;
`injected.png` are the synthetic anomalies that the trainer puts into a stream's own history.

Shapes: S slots, R rows, L slots of a history, A anomalies of a row, B anomalies, N slots around one
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from trainer.inject.drawn import inject
from trainer.inject.kinds import DRAWN
from trainer.inject.splice import pieces

FloatArray = npt.NDArray[np.float64]
DAY = 1440  # slots of a minute
DAYS, TEST = 14, DAY
START = 1_790_000_000 // 86_400 * 86_400
MARGIN = 40
SEED = 11
_VALUE, _CHANGED = "#1f2937", "#b3261e"


def requests(generator: np.random.Generator) -> FloatArray:
    """Requests a minute, with a job at four and noise that grows with the level (S,)."""
    slot_S = np.arange(DAYS * DAY)
    daily_S = 900 + 450 * np.sin(2 * np.pi * (slot_S / DAY - 0.3)) + 120 * np.sin(4 * np.pi * slot_S / DAY)
    daily_S += np.where(np.abs(slot_S % DAY - 240) < 12, 300, 0)
    noisy_S: FloatArray = daily_S * (1 + 0.03 * generator.standard_normal(len(slot_S)))
    return noisy_S


def replayed(folder: Path) -> None:
    """The picture of the backtest: a job that does not run, half an hour of too little, an outage."""
    value_S = requests(np.random.default_rng(SEED))
    label_S = np.zeros(len(value_S), int)
    today = (DAYS - 1) * DAY
    for begin, end, change in ((229, 252, -300.0), (700, 735, -350.0), (1200, 1212, -1e9)):
        span = slice(today + begin, today + end)
        value_S[span] = np.maximum(value_S[span] + change, 3)
        label_S[span] = 1
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "shop.requests.csv"
        rows = (
            f"{START + 60 * s},{value:.1f},{label}"
            for s, (value, label) in enumerate(zip(value_S, label_S, strict=True))
        )
        file.write_text("ts,value,label\n" + "\n".join(rows) + "\n")
        command = ["backtest", str(file), "--train", str(today), "--plot", made, "--state-dir", f"{made}/state"]
        subprocess.run([sys.executable, "-m", "streamer.cli", *command], check=True)
        (picture,) = Path(made).glob("*.png")
        (folder / "replayed.png").write_bytes(picture.read_bytes())


def injected(folder: Path) -> None:
    """One anomaly of each kind, in red, in a history of waves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    generator = np.random.default_rng(SEED)
    slot_S = np.arange(4096)
    value_S = (
        np.sin(2 * np.pi * slot_S / 64) + 0.4 * np.sin(4 * np.pi * slot_S / 64) + 0.08 * generator.standard_normal(4096)
    )
    x_RL = torch.from_numpy((value_S - value_S.mean()) / value_S.std())[None]
    made = inject(x_RL, torch.tensor([64]), torch.tensor([0]), seed=SEED, each=1)
    shown_BN = pieces(x_RL, made, MARGIN).numpy()
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, name, shown_N, length, onset in zip(
        figure.subplots(2, 7).ravel(),
        DRAWN,
        shown_BN,
        made.length_RA[0].tolist(),
        made.onset_RA[0].tolist(),
        strict=True,
    ):
        end = MARGIN + length
        before_N = x_RL[0, onset - MARGIN : onset + length + MARGIN].numpy()
        axis.plot(before_N, color="#9dc3e6", lw=1.0)
        axis.plot(np.arange(end + MARGIN), shown_N[: end + MARGIN], color=_VALUE, lw=1.0)
        axis.plot(np.arange(MARGIN, end), shown_N[MARGIN:end], color=_CHANGED, lw=1.6)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    figure.savefig(folder / "injected.png", dpi=80)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    injected(target)
    replayed(target)
