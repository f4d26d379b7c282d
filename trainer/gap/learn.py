"""Learning one head: anomalies must stand above the loudest normal windows of their own row.

That is how a stream is judged: by what is loudest among its own. How loud windows of different rows are is for the
bank's calibration to say, and the head has no say in it; it moves a window by REACH decades at most, so that what the
bank is sure of stays so.

Shapes: R rows of a step, P anomalies and N normal windows of each, B = R · (P + N) windows.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from detector.gaphead import ROW, SAID_UNIT, About, GapHead, Seen, Trunk, correction
from detector.gapview import ASK
from trainer.gap.examples import Examples

log = structlog.get_logger(__name__)
STEPS, RATE, DECAY = 600, 2e-3, 1e-2
ROWS, ANOMALIES, NORMAL = 24, 12, 36  # of a step
LOUDEST = 12  # normal windows that an anomaly is held against: the loudest third
# Share of anomalies below the loudest normal windows, smoothed: what no head can see must not pull at it for ever. The
# small convex part tells it which way to go where the share is flat.
_STEEP, _CONVEX = 2.0, 0.1
# Rows whose teacher's tokens are hidden: most streams do not ask, and a head must judge them as well.
_HIDDEN = 0.5
_NOISE = 0.05  # on the form: half-precision prototypes move it by less
_TOLD = 200  # steps between two words


def learn(examples: Examples, leave_out: tuple[str, ...], about: About, seed: int, steps: int = STEPS) -> GapHead:
    """A head that has seen no example of the families left out. Deterministic for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = Trunk(about)
        with torch.no_grad():  # it begins by saying nothing
            for layer in (trunk.out, trunk.direct):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
        _fit(trunk, examples, drawing(examples, leave_out, seed), steps)
    lineage = {"seed": str(seed), "steps": str(steps), "left_out": ",".join(leave_out)}
    return GapHead(trunk, replace(about, lineage={**about.lineage, **lineage}))


def drawing(examples: Examples, leave_out: tuple[str, ...], seed: int) -> Callable[[], Tensor]:
    """Draws indices (R, P + N) of examples: families alike, rows of a family alike; only windows that would be asked."""
    rng = np.random.default_rng(seed)
    asked_N = examples.seen.said_NV[:, ROW].float().numpy() * SAID_UNIT >= ASK
    label_N, row_N = examples.label_N.numpy() > 0, examples.row_N.numpy()
    pools: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for row, (family, _) in enumerate(examples.rows):
        mine_N = (row_N == row) & asked_N
        anomalies, normal = np.flatnonzero(mine_N & label_N), np.flatnonzero(mine_N & ~label_N)
        if family not in leave_out and len(anomalies) and len(normal):
            pools.setdefault(family, []).append((anomalies, normal))
    families = sorted(pools)

    def draw() -> Tensor:
        out = []
        for _ in range(ROWS):
            of = pools[families[rng.integers(len(families))]]
            anomalies, normal = of[rng.integers(len(of))]
            out.append(np.concatenate([rng.choice(anomalies, ANOMALIES), rng.choice(normal, NORMAL)]))
        return torch.from_numpy(np.stack(out))

    return draw


def loss_of(score_RX: Tensor) -> Tensor:
    """Mean over anomalies (first ANOMALIES of each row) of how far they are below the loudest normal windows."""
    loudest_R1 = score_RX[:, ANOMALIES:].topk(LOUDEST, 1).values.mean(1, keepdim=True)
    below_RP = _STEEP * (loudest_R1 - score_RX[:, :ANOMALIES])
    return (torch.sigmoid(below_RP) + _CONVEX * nn.functional.softplus(below_RP)).mean()


def _fit(trunk: Trunk, examples: Examples, draw: Callable[[], Tensor], steps: int) -> None:
    trunk.train()
    optimiser = torch.optim.AdamW(trunk.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    total = bank = 0.0
    for step in range(1, steps + 1):
        index_RX = draw()
        seen = _hidden(_turned(examples.seen.at(index_RX.flatten())), len(index_RX))
        row_B = seen.said_NV[:, ROW] * SAID_UNIT
        loss = loss_of((row_B + correction(trunk(seen))).view_as(index_RX))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        bank += float(loss_of(row_B.view_as(index_RX)))
        if step % _TOLD == 0:
            log.info("gap head learns", step=step, loss=round(total / _TOLD, 4), bank=round(bank / _TOLD, 4))
            total = bank = 0.0


def _turned(seen: Seen) -> Seen:
    """Up and down are alike: half of the windows are seen upside down."""
    sign_B11 = torch.where(torch.rand(len(seen.said_NV), 1, 1) < 0.5, -1.0, 1.0)
    seen = seen.float()
    form_BCT = seen.form_NCT * sign_B11
    return seen._replace(form_NCT=form_BCT + _NOISE * torch.randn_like(form_BCT))


def _hidden(seen: Seen, rows: int) -> Seen:
    """Without the teacher's tokens in some rows."""
    if seen.deep_NUJ is None:
        return seen
    hidden_B = (torch.rand(rows) < _HIDDEN).repeat_interleave(len(seen.said_NV) // rows)
    return seen._replace(deep_NUJ=seen.deep_NUJ.masked_fill(hidden_B[:, None, None], torch.nan))


def judged(head: GapHead, examples: Examples, families: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """A family: share of anomalies above nine tenths of the normal windows of their row, with the head and without.

    Rows without such windows do not count; NaN when none is left.
    """
    seen = examples.seen.float()
    row_N = seen.said_NV[:, ROW] * SAID_UNIT
    asked_N = row_N >= ASK
    out = {}
    for family in families:
        shares = []
        for row in (r for r, (f, _) in enumerate(examples.rows) if f == family):
            index_N = (asked_N & (examples.row_N == row)).nonzero()[:, 0]
            anomaly_N = examples.label_N[index_N] > 0
            if bool(anomaly_N.any()) and not bool(anomaly_N.all()):
                both = (row_N[index_N] + correction(head.gap(seen.at(index_N))), row_N[index_N])
                shares.append([float((s[anomaly_N] > s[~anomaly_N].quantile(0.9)).float().mean()) for s in both])
        mine, bank = np.mean(shares, 0).tolist() if shares else (float("nan"), float("nan"))
        out[family] = (mine, bank)
    return out
