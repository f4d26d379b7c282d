"""The gap head: one small convolutional trunk, shared by all streams, that sees *how* a window departs from normal.

Every view says how far a window is from normal. The head looks at the window itself, at what is left of it after the
nearest prototypes, and at what all views say; one number comes out, the gap. It has learnt across many streams which
departures are anomalies (trainer/gap), and knows nothing of any single one: whether it is asked in a stream at all is
decided there (trainer/gapgate), and how rare a gap is there is what is shown of it.

Shapes: R rows, M windows of a row, N windows, P prototypes, T points of a pooled window (16), C channels of the form,
V numbers said, U teacher channels, J teacher tokens of a window.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from detector.pooling import POINTS
from detector.settings import NO_GAP, PACKAGED_GAP, DetectorSettings
from detector.teacher import DIMS
from streamer.errors import AnomalyLLMError

FORMAT = 1
_HEADER = "anomalyllm_gap"
PACKAGED = Path(__file__).with_name("gaphead.safetensors")
NEAREST = 3  # prototypes whose residuals are looked at
FORM = 2 + NEAREST  # channels a scale: window, residual, residuals in units of their prototypes' own spread
CONTEXT = 5  # numbers said beside the views: row, row without shapes, shapes, what the history can back, their weight
_HIDDEN = 64
_RADIUS_FLOOR = 0.1  # of the row's scale: a prototype that stands for one window has no spread
ROW = -CONTEXT  # place of the row's surprise among the numbers said
SAID_UNIT = 3.0  # decades
# Decades by which the head moves a surprise at most: of what the bank is sure of it takes nothing away.
REACH = 2.0
_SAID_MAX = 12.0
_CHUNK = 2048  # windows a call: their activations (2 MB a layer) stay in the cache


class GapHeadError(AnomalyLLMError):
    """The gap head cannot be loaded; the message says which and what to do."""


class Seen(NamedTuple):
    """What the head looks at of N windows."""

    form_NCT: Tensor  # windows and residuals, compressed
    said_NV: Tensor  # surprises and the like
    # Teacher's tokens less the student's prediction; NaN: the teacher did not look at this window, None: at none.
    deep_NUJ: Tensor | None = None

    def over(self, of: Callable[[Tensor], Tensor]) -> "Seen":
        """The same done to all of it."""
        deep_NUJ = None if self.deep_NUJ is None else of(self.deep_NUJ)
        return Seen(of(self.form_NCT), of(self.said_NV), deep_NUJ)

    def at(self, index_N: Tensor) -> "Seen":
        """Some of the windows."""
        return self.over(lambda value: value[index_N])

    @classmethod
    def joined(cls, parts: Sequence["Seen"]) -> "Seen":
        """One after the other."""
        form_NCT, said_NV = (torch.cat(values) for values in zip(*(part[:2] for part in parts), strict=True))
        some = next((part.deep_NUJ for part in parts if part.deep_NUJ is not None), None)
        if some is None:
            return cls(form_NCT, said_NV)
        nothing_1UJ = some.new_full((1, *some.shape[1:]), torch.nan)
        deep = [p.deep_NUJ if p.deep_NUJ is not None else nothing_1UJ.expand(len(p.said_NV), -1, -1) for p in parts]
        return cls(form_NCT, said_NV, torch.cat(deep))

    def float(self) -> "Seen":
        """The same in single precision."""
        return self.over(Tensor.float)


@dataclass(frozen=True)
class About:
    """What a head's file says of it."""

    scales: tuple[int, ...] = (16, 64)  # windows of 16 points each
    listens: tuple[int, ...] = (8, 16, 64)  # scales of the prototype views that it listens to
    looks: int = 8  # the other views of depth 0, which it listens to as well
    deep: int = 0  # teacher channels; 0: it has never seen a teacher
    teacher: str = ""  # identity of that teacher: tokens of another mean nothing to it
    teacher_scales: tuple[int, ...] = ()
    lineage: dict[str, str] = field(default_factory=dict)  # seed, families, figures

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "About":
        """From JSON. Raises TypeError for other fields."""
        own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
        return cls(**own)

    @property
    def form(self) -> int:
        """Channels of the form."""
        return FORM * len(self.scales)

    @property
    def said(self) -> int:
        """Numbers said."""
        return self.looks + len(self.listens) + CONTEXT


class Trunk(nn.Module):
    """Window and residuals → one logit: about 50 000 weights."""

    def __init__(self, about: About) -> None:
        super().__init__()
        self.deep = about.deep
        inputs = about.form + about.said + (about.deep + 1 if about.deep else 0)
        self.first = nn.Conv1d(inputs, _HIDDEN, 3, padding=1)
        self.halve = nn.Conv1d(_HIDDEN, _HIDDEN, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(nn.Conv1d(_HIDDEN, _HIDDEN, 3, padding=1) for _ in range(2))
        self.joint = nn.Linear(2 * _HIDDEN + about.said, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, 1)
        # What the views say has a way of its own: the trunk learns what they leave open.
        self.direct = nn.Linear(about.said, 1)

    def forward(self, seen: Seen) -> Tensor:
        """Logits (N)."""
        points = seen.form_NCT.shape[-1]
        parts = [seen.form_NCT, seen.said_NV[..., None].expand(-1, -1, points)]
        if self.deep:
            parts.append(_over_points(seen, self.deep, points))
        x_NCT = nn.functional.gelu(self.first(torch.cat(parts, 1)))
        x_NCT = nn.functional.gelu(self.halve(x_NCT))
        for block in self.blocks:
            x_NCT = x_NCT + nn.functional.gelu(block(x_NCT))
        pooled_NX = torch.cat([x_NCT.mean(-1), x_NCT.amax(-1), seen.said_NV], -1)
        logit_N1: Tensor = self.out(nn.functional.gelu(self.joint(pooled_NX))) + self.direct(seen.said_NV)
        return logit_N1[:, 0]


def _over_points(seen: Seen, deep: int, points: int) -> Tensor:
    """Tokens spread over the points they stand for, and a flag (N, U + 1, T); zeros where no teacher looked.

    The first token is left out by the teacher: its points stay 0.
    """
    out_NUT = seen.form_NCT.new_zeros(len(seen.form_NCT), deep + 1, points)
    if seen.deep_NUJ is not None:
        each = points // (seen.deep_NUJ.shape[-1] + 1)
        looked_N11 = torch.isfinite(seen.deep_NUJ[:, :1, :1])
        out_NUT[:, :deep, each:] = seen.deep_NUJ.where(looked_N11, 0.0).repeat_interleave(each, -1)
        out_NUT[:, deep:] = looked_N11.to(out_NUT)
    return out_NUT


class GapHead:
    """A trained trunk; deterministic for its identity, and the same for a window whatever stands beside it."""

    def __init__(self, trunk: Trunk, about: About) -> None:
        self.about = about
        self._trunk = trunk.eval().requires_grad_(False)
        self.identity = self._identify()

    @torch.inference_mode()
    def gap(self, seen: Seen) -> Tensor:
        """Logits (N): the larger, the less such a departure is normal. Not calibrated."""
        device = seen.said_NV.device
        self._trunk.to(device)
        parts = [torch.zeros(0, device=device)]
        every_N = torch.arange(len(seen.said_NV), device=device)
        parts += [self._trunk(seen.at(every_N[at : at + _CHUNK])) for at in range(0, len(every_N), _CHUNK)]
        return torch.cat(parts)

    def data(self) -> bytes:
        """The file."""
        tensors = {name: value.contiguous().cpu() for name, value in self._trunk.state_dict().items()}
        return save(tensors, metadata={_HEADER: orjson.dumps({"format": FORMAT, **asdict(self.about)}).decode()})

    def _identify(self) -> str:
        about = self.about
        hears = (about.scales, about.listens, about.deep, about.teacher, about.teacher_scales)
        digest = hashlib.sha256(repr((FORMAT, *hears)).encode())
        for name, value in sorted(self._trunk.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def load(path: Path) -> GapHead:
    """Read a file. Raises GapHeadError when it is missing, damaged or of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            raw = orjson.loads((file.metadata() or {}).get(_HEADER, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if raw.pop("format", None) != FORMAT:
            raise GapHeadError(f"gap head {path} is of another format: make it again (`python -m trainer.gap`)")
        about = About.of(raw)
        trunk = Trunk(about)
        trunk.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise GapHeadError(
            f"gap head {path} cannot be read: {error}. Give a file made by `python -m trainer.gap`, "
            f"'{PACKAGED_GAP}' or '{NO_GAP}' (--gap-head or ANOMALYLLM_GAP_HEAD)"
        ) from error
    return GapHead(trunk, about)


def load_gap(settings: DetectorSettings) -> GapHead | None:
    """The head that settings ask for; None for 'none'. Raises GapHeadError when it cannot be used with them."""
    if settings.gap_head == NO_GAP:
        return None
    path = PACKAGED if settings.gap_head == PACKAGED_GAP else Path(settings.gap_head)
    if not path.is_file():
        raise GapHeadError(f"gap head {path} does not exist: give a file, '{PACKAGED_GAP}' or '{NO_GAP}' (--gap-head)")
    head = _loaded(path, path.stat().st_mtime_ns)
    missing = [scale for scale in head.about.listens if scale not in settings.scales]
    if missing:
        raise GapHeadError(
            f"gap head {path} looks at windows of {missing} slots, which --scales {settings.scales} lack: "
            f"add them or leave the head out (--gap-head {NO_GAP})"
        )
    return head


@lru_cache(maxsize=16)
def _loaded(path: Path, changed_ns: int) -> GapHead:
    return load(path)


def form(window_RMT: Tensor, there_RMT: Tensor | None, proto_RPT: Tensor, radius_RP: Tensor) -> Tensor:
    """One scale's channels (R, M, FORM, T): window, residual to the nearest prototype, and the residuals to the
    nearest three in units of the prototypes' own spread. Compressed by asinh; 0 where a point is missing."""
    there_RMT = torch.ones_like(window_RMT) if there_RMT is None else there_RMT.to(window_RMT.dtype)
    square_RPT = proto_RPT * proto_RPT
    off_RMP = torch.bmm(there_RMT, square_RPT.mT) - 2.0 * torch.bmm(window_RMT * there_RMT, proto_RPT.mT)
    many = min(NEAREST, proto_RPT.shape[1])
    near_RMX = off_RMP.topk(many, largest=False).indices
    near_RMX = torch.cat([near_RMX, near_RMX[..., -1:].expand(-1, -1, NEAREST - many)], -1)
    row_R11 = torch.arange(len(proto_RPT), device=proto_RPT.device)[:, None, None]
    left_RMXT = (window_RMT[:, :, None] - proto_RPT[row_R11, near_RMX]) * there_RMT[:, :, None]
    unit_RMX = radius_RP[row_R11, near_RMX].clamp_min(_RADIUS_FLOOR)
    window_RM1T = (window_RMT * there_RMT)[:, :, None]
    return torch.cat([window_RM1T, left_RMXT[:, :, :1], left_RMXT / unit_RMX[..., None]], 2).asinh()


def said(view_BV: Tensor, row_B: Tensor, plain_B: Tensor, shape_B: Tensor, backed_B: Tensor, blend_B: Tensor) -> Tensor:
    """Numbers said (…, V + CONTEXT): surprises of views, of the row, of the row without shapes and of shapes, the
    largest surprise that the history can back, and the weight of shapes. What is absent is 0."""
    loud_BV = torch.cat([view_BV, torch.stack([row_B, plain_B, shape_B, backed_B], -1)], -1)
    loud_BV = loud_BV.nan_to_num(nan=0.0).clamp(0.0, _SAID_MAX) / SAID_UNIT
    return torch.cat([loud_BV, blend_B.nan_to_num(nan=0.0)[..., None]], -1).float()


def correction(logit_N: Tensor) -> Tensor:
    """Decades (N) that a gap adds to a surprise: within ±REACH, near 0 the logit itself."""
    return REACH * torch.tanh(logit_N / REACH)


def deep_channels(residual_NDO: Tensor) -> Tensor:
    """Standardised residuals of the teacher's tokens (N, D, O) as channels (N, D · DIMS, J), compressed."""
    size, depths, _ = residual_NDO.shape
    return residual_NDO.reshape(size, depths, -1, DIMS).transpose(2, 3).flatten(1, 2).asinh()


__all__ = ["About", "GapHead", "GapHeadError", "Seen", "Trunk", "correction", "form", "load", "load_gap", "said"]
assert POINTS == 16, "heads have learnt windows of 16 points"
