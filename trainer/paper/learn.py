"""Distillation as published: the student mimics on normal windows and is pushed away on scaled and jittered ones.

Shapes: N windows, C channels, L slots of a window, M prototypes, F features, S slots of a history
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.paper.model import PaperModel, gap
from trainer.paper.settings import PaperSettings
from trainer.paper.trunk import Trunk
from trainer.paper.windows import windows

# Defaults of the published code; its settings file, which may say otherwise, is not to be had.
SCALE_MEAN, SCALE_STD = 2.0, 1.1
JITTER_STD = 0.8
PULL = 0.1  # weight of the teacher's own term beside the mimicry, as in the code that the paper's is built on
# That code's is 3e-4 over 50 epochs: steps so few must be larger.
RATE = 1e-3
BETAS = (0.9, 0.99)
DECAY = 5e-4
# The student's cost goes with the channels: at 55 a step of 32 windows takes 1.6 s, and a fit should take half a minute.
ROWS_A_STEP = 256  # windows times channels
LEAST_BATCH = 8
CLIP_NORM = 1.0  # −log(1 − e^−d) is steep where a student meets its teacher on an anomaly


@dataclass(frozen=True)
class Learnt:
    """A fitted model and the loss of every step."""

    model: PaperModel
    tuned: dict[str, Tensor]  # what has changed: the rest of the teacher is the trunk's
    losses: list[float]


def learn(z_SC: np.ndarray, start_N: np.ndarray, trunk: Trunk, settings: PaperSettings, seed: int) -> Learnt:
    """Fit teacher and student together on the windows of standardised rows that begin at `start_N`.

    Every draw comes from `seed`. The model of the last step is taken: the published code takes the epoch that does
    best on the test part.
    """
    length = settings.paper_window
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PaperModel(trunk, _first_prototypes(z_SC, start_N, settings))
    optimiser = torch.optim.Adam(model.learnt(), RATE, BETAS, weight_decay=DECAY)
    batch = min(settings.paper_batch, max(ROWS_A_STEP // z_SC.shape[1], LEAST_BATCH))
    losses = []
    for _ in range(settings.paper_steps):
        drawn = torch.randint(len(start_N), (batch,), generator=generator).numpy()
        normal_NCL, _ = windows(z_SC, start_N[drawn], length)
        optimiser.zero_grad()
        loss = loss_of(model, normal_NCL, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.learnt(), CLIP_NORM)
        optimiser.step()
        losses.append(float(loss.detach()))
    tuned = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    return Learnt(model.requires_grad_(False), tuned, losses)


def loss_of(model: PaperModel, normal_NCL: Tensor, generator: torch.Generator) -> Tensor:
    """Mimicry + push + pull of one batch (paper, section 3)."""
    scaled_NCL, jittered_NCL = augmented(normal_NCL, generator)
    count = len(normal_NCL)
    teacher_NF, student_NF = model(torch.cat([normal_NCL, scaled_NCL, jittered_NCL]))
    gap_N = gap(teacher_NF, student_NF)
    mimicry = gap_N[:count].square().mean()
    push = -torch.log(-torch.expm1(-gap_N[count:])).mean()
    pull = (teacher_NF[count:] - teacher_NF[:count].repeat(2, 1)).square().sum(-1).mean()
    loss: Tensor = mimicry + push + PULL * pull
    return loss


def augmented(normal_NCL: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same windows scaled (one factor a window and channel), and jittered."""
    factor_NC1 = SCALE_MEAN + SCALE_STD * torch.randn(*normal_NCL.shape[:2], 1, generator=generator)
    noise_NCL = torch.randn(normal_NCL.shape, generator=generator)
    return normal_NCL * factor_NC1, normal_NCL + JITTER_STD * noise_NCL


def _first_prototypes(z_SC: np.ndarray, start_N: np.ndarray, settings: PaperSettings) -> Tensor:
    """Windows evenly through the history (C, M, L): so few steps would not find them from noise, as published."""
    at_M = np.linspace(0, len(start_N) - 1, settings.paper_prototypes).round().astype(int)
    value_MCL, _ = windows(z_SC, start_N[at_M], settings.paper_window)
    return value_MCL.transpose(0, 1).contiguous()
