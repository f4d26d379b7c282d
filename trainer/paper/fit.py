"""History → fitted model with its calibrated tail. The last fifth is held back from learning, as published.

Shapes: S slots, C channels, N windows, L slots of a window, R rows
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from detector.model import calibration
from streamer.contracts import ModelRef
from trainer.fit.histories import History
from trainer.fit.scaling import robust
from trainer.paper.learn import learn
from trainer.paper.model import PaperModel, gap
from trainer.paper.settings import PaperSettings
from trainer.paper.trunk import load_trunk
from trainer.paper.windows import Norm, standardised, usable, windows

VERSION = "paper"
HELD_BACK = 0.2  # share of the training part in which is measured what is normal
LEAST = 100  # windows that make a tail; where fewer are held back, those that were learnt from have to do
MOST = 1024  # windows of which the tail is made, evenly spread
CHUNK = 256  # windows a forward pass
_FLOOR = 1e-3  # smallest tail scale of a gap that lies between 0 and 2


@dataclass(frozen=True)
class Fitted:
    """All that one stream's scores need."""

    model: PaperModel
    norm: Norm
    cal: Tensor  # one calibrator, see detector.model.calibration
    ref: ModelRef
    size: int  # bytes of what was learnt
    losses: list[float]  # of every step


def fit(history: History, settings: PaperSettings, seed: int) -> Fitted | str:
    """Learn from a history; of one that is too short a sentence that says so.

    Raises TeacherError when the teacher cannot be loaded.
    """
    length, values_SC = settings.paper_window, history.values_SC
    if history.points < length + LEAST:
        return f"not fitted, not scored: {history.points} slots with data are fewer than {length + LEAST}"
    norm = Norm.of(values_SC)
    z_SC = standardised(values_SC, norm)
    start_N = usable(z_SC, length)
    cut = round(len(z_SC) * (1 - HELD_BACK))
    held_N = start_N[start_N >= cut]
    learn_N = start_N[start_N <= cut - length]
    if len(held_N) < LEAST or not len(learn_N):
        held_N = learn_N = start_N
    if len(start_N) < LEAST:
        return f"not fitted, not scored: {len(start_N)} windows of {length} slots are half there, fewer than {LEAST}"
    learnt = learn(z_SC, learn_N, load_trunk(settings), settings, seed)
    cal = _calibrated(learnt.model, z_SC, held_N, length)
    # what a history of so many slots can back at most, as for the product's rows
    cap_R = robust(torch.from_numpy(np.ascontiguousarray(values_SC.T))).cap_R
    cal = calibration.cap(cal, cap_R.nan_to_num(0.0).max())
    data = save({"calibrator": cal, **learnt.tuned})
    ref = ModelRef(
        version=VERSION, uri="memory", row=0, sha256=hashlib.sha256(data).hexdigest(), grid_version=history.grid_version,
        trained_slots=history.span, points=history.points,
    )  # fmt: skip
    return Fitted(learnt.model, norm, cal, ref, len(data), learnt.losses)


@torch.inference_mode()
def gaps(model: PaperModel, z_SC: np.ndarray, some_N: np.ndarray, length: int) -> np.ndarray:
    """Teacher minus student (N,) of windows that begin at these rows; NaN where too little of one is there."""
    parts = [np.zeros(0, np.float32)]
    for at in range(0, len(some_N), CHUNK):
        x_NCL, enough_N = windows(z_SC, some_N[at : at + CHUNK], length)
        parts.append(torch.where(enough_N, gap(*model(x_NCL)), torch.nan).numpy())
    return np.concatenate(parts)


def _calibrated(model: PaperModel, z_SC: np.ndarray, start_N: np.ndarray, length: int) -> Tensor:
    """The calibrator of normal windows, some of those that begin at these rows."""
    some_N = start_N[np.unique(np.linspace(0, len(start_N) - 1, min(MOST, len(start_N))).round().astype(int))]
    gap_N = torch.from_numpy(gaps(model, z_SC, some_N, length))
    # windows that overlap are alike: so many lie within one length
    same = max(1.0, length * len(some_N) / len(start_N))
    return calibration.fit(gap_N[None], torch.isfinite(gap_N)[None], _FLOOR, memory=same)[0]
