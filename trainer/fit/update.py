"""The prototype update: cheap and frequent. Stale prototypes make room for recent normal windows, then the
calibration moves towards what was held back from that. The map to the teacher's tokens stays as it is.

Shapes: R rows, S streams, N slots, P prototypes, Q of them replaced, T points, V views.
"""

from collections.abc import Mapping, Sequence

import structlog
import torch
from torch import Tensor

from detector.model import calibration
from detector.model.artefact import Student
from detector.model.layout import CONTEXT, Layout
from detector.model.memories import Memories
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.shallow import fuse_views, judge, measure, prepare
from detector.model.teacher import Teacher
from detector.model.views.plain import choose
from detector.model.views.prototypes import BAND_POINTS, prototypes
from streamer.errors import AnomalyLLMError
from trainer.fit.agreed import budget_of, layout_of
from trainer.fit.distil import without
from trainer.fit.full import HELD_BACK_LEVEL, HELD_BACK_SLOTS, Fitted
from trainer.fit.histories import History, Learnt, Stack, stacks
from trainer.fit.levels import ROW_FLOOR, learn
from trainer.fit.prototypes import kmeans
from trainer.fit.run import ALERT, Trained, assemble
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)

# Windows as surprising as 1 in 100 make no prototypes: they may be what is to be found. Calibration needs them, up to
# what would alert: those few are no loss to it, and a level that has moved for good is the business of a full fit.
NORMAL = 2.0
BLOCK = 64  # slots: blocks in turn are learnt from and held back for calibration
AT_MOST = 8  # one prototype in eight is replaced a time: a stream's normal does not change overnight
STALE = 0.25  # of the average use: prototypes that fewer windows are nearest to are stale
_LEARNT_WINDOWS = 256


class LayoutChangedError(AnomalyLLMError):
    """A student was fitted with other settings or another teacher: it needs a full fit."""


def fresh_history(student: Student, history: History) -> History:
    """The slots that the student has not seen, and the context before them."""
    member = student.member
    first = max(0, min(member.trained_slots[1] + 1, history.hi + 1) - history.lo - CONTEXT)
    return History(
        history.stream,
        history.channels,
        history.values_SC[first:],
        history.lo + first,
        history.grid_version,
        Learnt(member.trained_slots, member.points),
    )


def check(student: Student, teacher: Teacher | None, settings: TrainerSettings, history: History) -> None:
    """Raises LayoutChangedError when the student cannot be updated under these settings."""
    alone = layout_of(settings, None)  # of a student that earned no teacher, or had none
    if student.layout not in (layout_of(settings, teacher if budget_of(settings, teacher) > 0 else None), alone):
        raise LayoutChangedError(f"{history.stream}: its student was fitted with other settings; a full fit is needed")
    if (tuple(student.member.channels), student.member.grid_version) != (history.channels, history.grid_version):
        raise LayoutChangedError(f"{history.stream}: channels or grid have changed; a full fit is needed")


def update(
    students: Mapping[str, Student], histories: Sequence[History], teacher: Teacher | None, settings: TrainerSettings
) -> Trained:
    """New rows for students (by stream) from fresh histories (`fresh_history`) of the same streams."""
    teacher = teacher if budget_of(settings, teacher) > 0 else None
    layout = layout_of(settings, teacher)
    device = teacher.device if teacher is not None else torch.device("cpu")
    with torch.inference_mode():
        parts = [_update_stack(stack, students, layout, teacher) for stack in stacks(histories, device)]
    parents = sorted({student.version for student in students.values()})
    log.info("prototypes updated", streams=len(histories))
    return assemble(parts, settings, teacher, {"job": "prototypes", "parents": ",".join(parents)})


def _update_stack(stack: Stack, students: Mapping[str, Student], layout: Layout, teacher: Teacher | None) -> Fitted:
    mine = [students[history.stream] for history in stack.histories]
    device = stack.values_RL.device
    stored = torch.device("cpu")  # as students come from a store
    every = [s.rows if s.layout.teacher else s.rows | without(layout, len(s.member.channels), stored) for s in mine]
    rows: Rows = {n: torch.cat([of[n] for of in every]).to(device) for n in layout.row_fields()}
    streams = {n: torch.stack([s.stream[n] for s in mine]).to(device) for n in layout.stream_fields()}
    # What a shape memory points into is a copy of the history it was made of: it lasts until the next full fit.
    memories = Memories.joined([s.memories for s in mine], [len(s.member.channels) for s in mine])
    slot_RL = _fresh(stack)
    x_RL = prepare(stack.values_RL, rows)
    length = x_RL.shape[1]
    # The slots before them are context: they have been learnt from.
    count = min(length - max(layout.scales) + 1, int(slot_RL.sum(1).max()))
    if count < 1:
        return Fitted(stack.histories, stack.stream_R, rows, streams, memories, torch.zeros(len(mine), device=device))
    fresh_RK = slot_RL[:, -count:]
    _, row_RK = judge(measure(x_RL, rows, layout.scales, count).distance_RKV, rows)
    normal_RK = fresh_RK & (row_RK < NORMAL)
    learn_K = torch.arange(count, device=device) // BLOCK % 2 == 0
    for scale in layout.scales:
        _replace(x_RL, rows, scale, normal_RK & learn_K, teacher, layout)
    held_RKV = measure(x_RL, rows, layout.scales, count).distance_RKV
    return _recalibrate(stack, rows, streams, memories, held_RKV, fresh_RK & ~learn_K & (row_RK < ALERT), layout)


def _fresh(stack: Stack) -> Tensor:
    """True at slots (R, L) that come after what the student has seen."""
    length = stack.values_RL.shape[1]
    new = [h.hi - h.before.span[1] if h.before is not None else len(h.values_SC) for h in stack.histories]
    new_R = torch.tensor(new, device=stack.values_RL.device)[stack.stream_R]
    return torch.arange(length, device=new_R.device) >= length - new_R[:, None]


def _replace(x_RL: Tensor, rows: Rows, scale: int, from_RK: Tensor, teacher: Teacher | None, layout: Layout) -> None:
    """Put the most distant of the normal windows in the place of prototypes that are hardly used any more."""
    proto_RPT = rows[f"proto.{scale}"]
    count = from_RK.shape[1]
    windows = pool(x_RL, scale, count)
    whole_RK = from_RK & (windows.valid_RK if windows.there_RKT is None else windows.there_RKT.all(-1))
    distance_RK, nearest_RK, _ = prototypes(x_RL, rows, scale, count)
    many_R1 = whole_RK.sum(-1, keepdim=True).clamp_min(1)
    recent_RP = torch.zeros_like(rows[f"used.{scale}"]).scatter_add_(1, nearest_RK, whole_RK.float()) / many_R1
    enough_R1 = whole_RK.sum(-1, keepdim=True) >= BLOCK
    used_RP = torch.where(enough_R1, 0.5 * (rows[f"used.{scale}"] + recent_RP), rows[f"used.{scale}"])
    places = max(1, layout.prototypes // AT_MOST)
    stalest_RQ = used_RP.topk(places, largest=False).indices
    stale_RQ = enough_R1 & (used_RP.gather(1, stalest_RQ) < STALE / layout.prototypes)
    # Candidates: the upper half of the distances among normal windows; their means, so that none is an odd one out.
    middle_R = torch.nanquantile(torch.where(whole_RK, distance_RK, torch.nan), 0.5, dim=-1)
    far_RK = whole_RK & (distance_RK >= torch.nan_to_num(middle_R)[:, None])
    row_R1 = torch.arange(len(x_RL), device=x_RL.device)[:, None]
    found = kmeans(windows.value_RKT[row_R1, choose(far_RK, _LEARNT_WINDOWS)], places, BAND_POINTS)
    stale_RQ = stale_RQ & far_RK.any(-1, keepdim=True)
    values = {"radius": found.radius_RP, "band": found.band_RP, "used": found.used_RP * 0.5}
    rows[f"used.{scale}"] = used_RP
    for name, value_RQ in values.items():
        table_RP = rows[f"{name}.{scale}"].clone()
        table_RP[row_R1, stalest_RQ] = torch.where(stale_RQ, value_RQ, table_RP.gather(1, stalest_RQ))
        rows[f"{name}.{scale}"] = table_RP
    table_RPT = proto_RPT.clone()
    table_RPT[row_R1, stalest_RQ] = _either(stale_RQ, found.proto_RPT, proto_RPT[row_R1, stalest_RQ])
    rows[f"proto.{scale}"] = table_RPT
    if teacher is None or scale not in layout.teacher_scales:
        return
    stale_RQ = stale_RQ & torch.isfinite(rows["gate"])[:, None]  # nobody else asks the teacher
    if bool(stale_RQ.any()):
        tokens_RPDO = rows[f"tokens.{scale}"].clone()
        at_N, q_N = stale_RQ.nonzero().unbind(1)
        tokens_RPDO[at_N, stalest_RQ[at_N, q_N]] = teacher.tokens(found.proto_RPT[at_N, q_N])
        rows[f"tokens.{scale}"] = tokens_RPDO


def _either(choice_RQ: Tensor, yes_RQT: Tensor, no_RQT: Tensor) -> Tensor:
    """Per row and place one of two windows."""
    return torch.where(choice_RQ[..., None], yes_RQT, no_RQT)


def _recalibrate(
    stack: Stack,
    rows: Rows,
    streams: dict[str, Tensor],
    memories: Memories,
    held_RKV: Tensor,
    within_RK: Tensor,
    layout: Layout,
) -> Fitted:
    """Calibrators move towards those of the held-back windows, by how many samples stand behind each."""
    cap_R = rows["row_cal"][:, -1]
    new = learn(held_RKV, within_RK, cap_R, rows["widen"], layout.spans, stack)
    before_S = torch.tensor([h.before.points if h.before else 0 for h in stack.histories], device=held_RKV.device)
    many_R = within_RK.sum(-1)
    weight_R = many_R / (many_R + before_S[stack.stream_R]).clamp_min(1)
    weight_S = torch.nan_to_num(stack.by_stream(weight_R[:, None])[..., 0], nan=0.0).amax(1)
    rows["view_cal"] = _blend(rows["view_cal"], new.view_cal, weight_R[:, None, None])
    view_RKV = calibration.surprise(held_RKV, rows["view_cal"][:, None])
    fused_RK = fuse_views(view_RKV)
    row_cal = calibration.fit(fused_RK, within_RK & torch.isfinite(fused_RK), ROW_FLOOR, shape=calibration.FUSED_SHAPE)
    rows["row_cal"] = _blend(rows["row_cal"], calibration.cap(row_cal, cap_R), weight_R[:, None])
    streams["stream_cal"] = _blend(streams["stream_cal"], new.stream_cal, weight_S[:, None])
    _, row_RK = judge(held_RKV, rows)
    over_SCK = stack.by_stream(torch.where(within_RK, (row_RK >= HELD_BACK_LEVEL).float(), torch.nan))
    excess_S = torch.nanmean(over_SCK.flatten(1), -1) * HELD_BACK_SLOTS
    return Fitted(stack.histories, stack.stream_R, rows, streams, memories, torch.nan_to_num(excess_S))


def _blend(old: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """`weight` of the new. Too few samples for a new one: the old; a scale that the fit had no data for stays off."""
    return torch.where(torch.isfinite(new), old + (new - old) * weight, old)
