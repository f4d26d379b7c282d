"""Trains what the paper trains around frozen blocks: the patch adapter and the layer norms, at the size of one CPU core.

Half of the steps hide patches and ask for them, half ask for the next patch (attention is then causal). Windows come from
training parts of series that no table of the page replays.

Shapes: N windows, T points, J patches, P points a patch, H hidden size.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.teacher.windows import windows_of
from detector.model.pooling import POINTS
from detector.model.teacher_controls import control_of
from detector.model.teacher_weights import ADAPTER, ADAPTER_FILE, load_blocks, packaged
from detector.settings import PACKAGED_TEACHER
from trainer.backtest.sources import Item

STEPS, BATCH = 2000, 16  # 6 minutes of one core
DEPTH = 2
PATCH = 2
HIDDEN_PATCHES = 2  # of 8
HELD_BACK = 1024
_RATE, _WARM = 1e-3, 100
FIGURES = "figures.json"


@dataclass(frozen=True)
class Trained:
    """Mean square errors on held-back windows, as shares of those of a naive forecast (the patch before)."""

    windows: int
    hidden_before: float
    hidden_after: float
    next_before: float
    next_after: float


def adapted(name: str, folder: Path, items: Sequence[Item], cache: Path) -> Trained:
    """The figures of the teacher in `folder`; trained now if it is not there."""
    figures = folder / FIGURES
    if not figures.exists():
        folder.mkdir(parents=True, exist_ok=True)
        trained = _train(name, folder, windows_of(items), cache)
        figures.write_text(json.dumps(asdict(trained)))
    return Trained(**json.loads(figures.read_text()))


class _Frame(nn.Module):
    """Adapter, mask and head around blocks of which only the layer norms learn."""

    def __init__(self, model: nn.Module, norm: float, hidden: int) -> None:
        super().__init__()
        self.model = model
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("layernorm" in name or "ln_" in name)
        self.adapter_PH = nn.Parameter(torch.randn(PATCH, hidden) * norm / (PATCH * hidden) ** 0.5)
        self.mask_H = nn.Parameter(torch.zeros(hidden))
        self.head = nn.Linear(hidden, PATCH)

    def errors(self, window_NT: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean square errors: of hidden patches, and of the next one."""
        patch_NJP = window_NT.reshape(len(window_NT), POINTS // PATCH, PATCH)
        many = patch_NJP.shape[1]
        hidden_NJ = torch.rand(patch_NJP.shape[:2], generator=generator).argsort(1) < HIDDEN_PATCHES
        embeds_NJH = patch_NJP @ self.adapter_PH
        shown_NJH = torch.where(hidden_NJ[..., None], self.mask_H, embeds_NJH)
        everywhere = torch.zeros(1, 1, many, many)
        filled_NJP = self.head(self._states(shown_NJH, everywhere))
        before = torch.full((many, many), -torch.inf).triu(1)[None, None]
        next_NJP = self.head(self._states(embeds_NJH, before))[:, :-1]
        return (
            (filled_NJP - patch_NJP)[hidden_NJ].square().mean(),
            (next_NJP - patch_NJP[:, 1:]).square().mean(),
        )

    def _states(self, embeds_NJH: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.model(inputs_embeds=embeds_NJH, attention_mask=mask, use_cache=False).last_hidden_state
        return states


def _train(name: str, folder: Path, window_NT: Tensor, cache: Path) -> Trained:
    control, source = control_of(name)
    place = str(packaged(cache / "teacher", DEPTH)) if source == PACKAGED_TEACHER else source
    model, norm = load_blocks(place, DEPTH)
    if control is not None:
        control(model, 0)
    generator = torch.Generator().manual_seed(0)
    window_NT = window_NT[torch.randperm(len(window_NT), generator=generator)]
    held_NT, window_NT = window_NT[:HELD_BACK], window_NT[HELD_BACK:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frame = _Frame(model, norm, int(model.config.hidden_size))  # type: ignore[union-attr, arg-type]
    learning = [parameter for parameter in frame.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=_RATE, weight_decay=0.0)
    before = _measured(frame, held_NT)
    for step in range(STEPS):
        warm = min(1.0, (step + 1) / _WARM)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * warm * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        drawn_NT = window_NT[torch.randint(len(window_NT), (BATCH,), generator=generator)]
        error = torch.stack(frame.errors(drawn_NT, generator)).sum()
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
    after = _measured(frame, held_NT)
    frame.model.save_pretrained(folder)  # type: ignore[operator]
    save_file({ADAPTER: frame.adapter_PH.detach().contiguous()}, folder / ADAPTER_FILE)
    return Trained(len(window_NT), before[0], after[0], before[1], after[1])


@torch.no_grad()
def _measured(frame: _Frame, window_NT: Tensor) -> tuple[float, float]:
    patch_NJP = window_NT.reshape(len(window_NT), -1, PATCH)
    naive = (patch_NJP[:, 1:] - patch_NJP[:, :-1, -1:]).square().mean()
    generator = torch.Generator().manual_seed(1)
    parts = [torch.stack(frame.errors(part_NT, generator)) for part_NT in torch.split(window_NT, 128)]
    hidden, following = (torch.stack(parts).mean(0) / naive).tolist()
    return hidden, following


def left_over(sets: Mapping[str, Sequence[Item]], replayed: set[tuple[str, str]]) -> list[Item]:
    """Series of one channel that no table replays, of which windows may be taken."""
    return [
        item
        for name in ("ucr", "tods", "wsd", "aiops")
        for item in sets.get(name, ())
        if (name, item.name) not in replayed
    ]
