"""What must hold of an artefact before its students may stand in a bank, whoever has written it.

A file of ours fulfils it by the way it is made. One of somebody else is refused here, once, rather than found out by a
bank in the middle of a batch: its indices would point outside of tables, its shapes would not fit, its sizes would fill
the memory.

Shapes: V shape views, P medoids, R rows, L slots of a history
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.periods import PERIOD_MAX
from detector.model.row_types import Rows
from detector.model.seasons import FIELDS, PHASE_S, Seasons
from detector.model.views.season import DAY_S, SEASONS
from detector.model.views.shape_windows import KINDS, WIDTH_MAX
from streamer.contracts import MAX_CHANNELS

# Far more than any setting of a trainer allows; a table has at least 64 rows of what a layout asks for.
_MOST = {"prototypes": 1024, "shapes": 64, "medoids": 4096, "outputs": 4096, "patch": 16}
_LONGEST_SCALE = 2048
_MANY = 64  # scales, depths
_LONGEST_HISTORY = 1 << 20  # slots of the largest ring


class Unfit(ValueError):
    """What does not hold."""


def check_layout(layout: Layout) -> None:
    """Raises Unfit when students of that layout cannot be stacked."""
    for name, most in _MOST.items():
        _within(f"layout.{name}", getattr(layout, name), 0, most)
    for name in ("scales", "depths", "teacher_scales"):
        values: Sequence[int] = getattr(layout, name)
        if len(values) > _MANY or list(values) != sorted(set(values)):
            raise Unfit(f"layout.{name} {list(values)[:5]} must be increasing, at most {_MANY}")
    for scale in layout.scales:
        _within("layout.scales", scale, 2, _LONGEST_SCALE)
    if not layout.scales or not set(layout.teacher_scales) <= set(layout.scales):
        raise Unfit("layout.teacher_scales must be among layout.scales, of which there is one at least")
    if layout.teacher and (not layout.depths or layout.depths[0] < 1):
        raise Unfit("a layout with a teacher names its depths")


def check_places(places: Sequence[tuple[int, int, int]]) -> None:
    """(start, channels, points) of the members, whose rows follow one another. Raises Unfit."""
    row = 0
    for start, channels, points in places:
        _within("a member's channels", channels, 1, MAX_CHANNELS)
        _within("a member's points", points, 0, 1 << 62)
        if start != row:
            raise Unfit(f"a member begins at row {start} where {row} is next")
        row += channels


def check_student(rows: Rows, memories: Memories, seasons: Seasons, layout: Layout) -> None:
    """What one member's tensors say must point into tables that are there. Raises Unfit."""
    channels = len(rows["centre"])
    _between("period", rows["period"], 0, PERIOD_MAX)
    _between("lag", rows["lag"], -(1 << 15), (1 << 15) - 1)
    if len(memories):
        _rows_of(memories.at, channels)
        _shaped(memories.rows, {**layout.shape_fields()}, len(memories))
        _between("shape.width", memories.rows["shape.width"], 1, WIDTH_MAX)
        _between("shape.kind", memories.rows["shape.kind"], 0, len(KINDS) - 1)
        for history_L, ends_VP in zip(memories.histories, memories.rows["shape.ends"], strict=True):
            _within("slots of a memory", len(history_L), 1, _LONGEST_HISTORY)
            _between("shape.ends", ends_VP, 0, len(history_L) - 1)
    if len(seasons):
        _rows_of(seasons.at, channels)
        _shaped(seasons.rows, FIELDS, len(seasons))
        _between("season", seasons.rows["season"], 0, len(SEASONS) - 1)
        _between("interval", seasons.rows["interval"], 1e-9, DAY_S * 31)
        _between("block", seasons.rows["block"], PHASE_S, 3600)
        block_R = seasons.rows["block"]
        if bool((block_R != block_R[0]).any()) or DAY_S % int(block_R[0]) or int(block_R[0]) % PHASE_S:
            raise Unfit("blocks of a season must be of one length that divides a day")


def check_starts(starts: Sequence[int], length: int) -> None:
    """Places of histories in the file. Raises Unfit."""
    if any(b < a for a, b in pairwise(starts)) or (starts and not 0 <= starts[0] <= starts[-1] <= length):
        raise Unfit("histories of memories overlap or lie outside the file")


def _rows_of(at: Sequence[int], channels: int) -> None:
    if any(b <= a for a, b in pairwise(at)) or not all(0 <= row < channels for row in at):
        raise Unfit(f"rows {list(at)[:5]} are not among {channels} channels")


def _shaped(rows: Rows, wanted: Mapping[str, tuple[int, ...]], many: int) -> None:
    for name, shape in wanted.items():
        if tuple(rows[name].shape) != (many, *shape):
            raise Unfit(f"{name} has shape {tuple(rows[name].shape)} where {(many, *shape)} is expected")


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Unfit(f"{what} is {value}, not in {low}..{high}")


def _between(what: str, value: Tensor, low: float, high: float) -> None:
    wide = value.double()
    if not bool(torch.isfinite(wide).all() & (wide >= low).all() & (wide <= high).all()):
        raise Unfit(f"{what} holds values outside {low:g}..{high:g}")
