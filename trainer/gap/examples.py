"""Examples for the head: held-back windows of many rows, normal ones and such over injected anomalies.

Half of a row is learnt from by a student like any other; the other half is judged by the detector's own code. So an
example is what the head will see of a stream that it does not know.

Shapes: N examples, X channels of the form, V numbers said, T points, U channels of the teacher, J its tokens, A
anomalies, L slots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
import torch
from torch import Tensor

from detector.bank import StudentBank
from detector.forecast import shape_period
from detector.gaphead import About, Seen
from detector.gapview import Window
from detector.settings import NO_GAP
from detector.teacher import DIMS, Teacher
from detector.views import Segment
from trainer.anomalies import KINDS, PAD, inject
from trainer.gap.families import Row
from trainer.histories import History
from trainer.settings import TrainerSettings
from trainer.train import students_of, train

log = structlog.get_logger(__name__)
TOGETHER = 16  # rows fitted in one run
EACH = 4  # anomalies of a kind and row
BLOCK = 96  # slots looked at in one piece
BLOCKS = 10  # of normal slots, a row
AFTER = 8  # slots after an anomaly's end that still count as it
# Windows taken of an anomaly, and of the normal blocks: those that the head would be asked about, and a few others.
ASKED, OTHERS = 6, 1
NORMAL_ASKED, NORMAL_OTHERS = 160, 40
_HALF = torch.float16


@dataclass(frozen=True)
class Examples:
    """What a head learns from."""

    seen: Seen  # float16
    label_N: Tensor  # 1.0: over an injected anomaly
    kind_N: Tensor  # index of the kind, −1: normal
    row_N: Tensor  # index into `rows`
    rows: list[tuple[str, str]]  # family, name
    about: About = field(default_factory=About)  # what a head sees of them

    def family_N(self) -> np.ndarray:
        """Family of each."""
        return np.asarray(np.array([family for family, _ in self.rows])[self.row_N.numpy()])


@dataclass(frozen=True)
class _Piece:
    segment: Segment
    row: int
    kind: int


def examples_of(rows: Sequence[Row], settings: TrainerSettings, teacher: Teacher | None, seed: int) -> Examples:
    """Examples of all rows, with what the teacher says of those windows past its gate. Deterministic for a seed."""
    about = About()
    if teacher is not None:
        scales = tuple(settings.teacher_scales)
        deep = DIMS * len(teacher.depths) * len(scales)
        about = About(deep=deep, teacher=teacher.identity, teacher_scales=scales)
    parts: list[tuple[Seen, int, int]] = []
    order = sorted(range(len(rows)), key=lambda i: (rows[i].shaped, len(rows[i].values_L)))
    for at in range(0, len(order), TOGETHER):
        here = order[at : at + TOGETHER]
        for shaped in (False, True):
            chosen = [i for i in here if rows[i].shaped == shaped]
            if chosen:
                parts += _together(rows, chosen, shaped, settings, teacher, about, seed)
        log.info("examples", rows=at + len(here), of=len(rows), windows=sum(len(s.said_NV) for s, _, _ in parts))
    sizes = [len(seen.said_NV) for seen, _, _ in parts]
    kind_N = torch.repeat_interleave(torch.tensor([kind for _, _, kind in parts]), torch.tensor(sizes))
    row_N = torch.repeat_interleave(torch.tensor([row for _, row, _ in parts]), torch.tensor(sizes))
    seen = Seen.joined([seen for seen, _, _ in parts])
    return Examples(seen, (kind_N >= 0).float(), kind_N, row_N, [(row.family, row.name) for row in rows], about)


def _together(
    rows: Sequence[Row],
    chosen: Sequence[int],
    shaped: bool,
    settings: TrainerSettings,
    teacher: Teacher | None,
    about: About,
    seed: int,
) -> Iterator[tuple[Seen, int, int]]:
    # All rows ask the teacher: which would by their evidence are too few to learn from.
    own = {"gap_head": NO_GAP, "shape_share": 1.0 if shaped else 0.0, "teacher_evidence": False}
    settings = settings.model_copy(update=own)
    halves = {f"r{i:05}": rows[i].values_L[: len(rows[i].values_L) // 2] for i in chosen}
    histories = [History(name, ("value",), values_L[:, None], 0) for name, values_L in halves.items()]
    trained = train(histories, teacher, settings)
    bank = StudentBank(teacher if trained.header.layout.teacher else None, settings)
    bank.put(students_of(trained.header, trained.rows, trained.streams, trained.memories, bank.layout))
    pieces = [piece for i in chosen for piece in _pieces(rows[i].values_L, i, seed)]
    rng = np.random.default_rng((seed, *chosen))
    for piece, window in zip(pieces, bank.look([piece.segment for piece in pieces], about), strict=True):
        if piece.kind >= 0:
            yield _taken(window, rng, ASKED, OTHERS), piece.row, piece.kind
        else:
            yield _taken(window, rng, NORMAL_ASKED // BLOCKS, NORMAL_OTHERS // BLOCKS), piece.row, -1


def _taken(window: Window, rng: np.random.Generator, asked: int, others: int) -> Seen:
    """Some of a piece's windows: most of them such as the head is asked about."""
    whole_K, ask_K = window.whole_CK[0], window.asked_CK[0]
    places = []
    for mask_K, most in ((ask_K, asked), (whole_K & ~ask_K, others)):
        at = mask_K.nonzero()[:, 0].cpu().numpy()
        places.append(rng.permutation(at)[:most])
    index_N = torch.from_numpy(np.sort(np.concatenate(places)))
    return window.seen.over(lambda value: value[0].cpu()[index_N].to(_HALF))


def _pieces(values_L: np.ndarray, row: int, seed: int) -> list[_Piece]:
    """Normal blocks of the second half, and stretches of it with an anomaly."""
    stream = f"r{row:05}"
    slots, cut = len(values_L), len(values_L) // 2
    rng = np.random.default_rng((seed, row))
    out = [
        _Piece(Segment(stream, values_L[:stop, None], min(BLOCK, stop - cut)), row, -1)
        for stop in np.linspace(cut + BLOCK, slots, BLOCKS).round().astype(int).tolist()
    ]
    middle, spread = float(np.nanmean(values_L)), max(float(np.nanstd(values_L)), 1e-6)
    x_1L = torch.from_numpy((values_L - middle) / spread)[None].float()
    period_R = shape_period(x_1L[:, :cut])
    injected = inject(x_1L, period_R, torch.tensor([cut]), seed=int(rng.integers(2**31)))
    many = injected.onset_RA.shape[1] // len(KINDS)
    for kind in range(len(KINDS)):
        for a in kind * many + rng.permutation(many)[:EACH]:
            onset, length = int(injected.onset_RA[0, a]), int(injected.length_RA[0, a])
            changed = values_L.copy()
            piece_B = injected.piece_RAB[0, a, PAD : PAD + length].numpy() * spread + middle
            changed[onset : onset + length] = piece_B
            last = min(onset + length + AFTER, slots)
            stop = int(rng.integers(min(onset + BLOCK, last), last + 1))
            out.append(_Piece(Segment(stream, changed[:stop, None], min(BLOCK, stop - onset)), row, kind))
    return out
