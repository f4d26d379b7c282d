"""The prototype update: cheap and frequent. Recent normal windows that are new join the prototypes, then the
calibration moves towards what was held back from that. The map to the teacher's tokens stays as it is.

Shapes: R rows (stream, channel), S streams, C channels, L slots, K new slots, V views
"""

from collections.abc import Mapping, Sequence

import structlog
import torch
from torch import Tensor

from detector.model import calibration
from detector.model.artefact import Student
from detector.model.layout import CONTEXT, Layout
from detector.model.memories import Memories
from detector.model.row_types import Rows
from detector.model.shallow import fuse_views, judge, measure, prepare
from detector.model.teacher import Teacher
from streamer.errors import AnomalyLLMError
from trainer.fit.agreed import budget_of, layout_of
from trainer.fit.distil import without
from trainer.fit.full import HELD_BACK_LEVEL, HELD_BACK_SLOTS, Fitted
from trainer.fit.histories import History, Learnt, Stack, stacks
from trainer.fit.levels import ROW_FLOOR, learn
from trainer.fit.replace import replace
from trainer.fit.run import ALERT, Trained, assemble
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)

# Windows as surprising as 1 in 100 make no prototypes: they may be what is to be found. Calibration needs them, up to
# what would alert: those few are no loss to it, and a level that has moved for good is the business of a full fit.
NORMAL = 2.0
BLOCK = 64  # slots: every other block is learnt from, the others are held back for calibration


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
        history.past,
        student.archive,
        apart=True,
    )


def check(student: Student, teacher: Teacher | None, settings: TrainerSettings, history: History) -> None:
    """Raises LayoutChangedError when the student cannot be updated under these settings."""
    alone = layout_of(settings, None)  # of a student whose rows do not ask the teacher, or that has none
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
        replace(x_RL, rows, scale, normal_RK & learn_K, teacher, layout)
    held_RKV = measure(x_RL, rows, layout.scales, count).distance_RKV
    return _recalibrate(stack, rows, streams, memories, held_RKV, fresh_RK & ~learn_K & (row_RK < ALERT), layout)


def _fresh(stack: Stack) -> Tensor:
    """True at slots (R, L) that come after what the student has seen."""
    length = stack.values_RL.shape[1]
    new = [h.hi - h.before.span[1] if h.before is not None else len(h.values_SC) for h in stack.histories]
    new_R = torch.tensor(new, device=stack.values_RL.device)[stack.stream_R]
    return torch.arange(length, device=new_R.device) >= length - new_R[:, None]


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
