"""Names of views and what a score of one stream looks like."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detector.model.layout import PLAIN_VIEWS, Layout

Float = npt.NDArray[np.float32]


class ViewName(NamedTuple):
    """One way of looking at a window."""

    name: str  # "prototype", "shape", "gap", "teacher", or the word of a look: "mahalanobis", "forecast", …
    depth: int  # 0: the window itself; above: output of that block of the teacher
    scale: int  # slots; of shapes 0, for each row has widths of its own: see `SegmentScore.scale_KC`


@dataclass(frozen=True)
class Segment:
    """Slots of one stream to be scored.

    `values_SC` float32 (slots, channels), NaN = gap; the last `count` slots are scored. A slot's score looks at the
    `StudentBank.context_of(stream)` slots up to it; where fewer are given, the rest counts as missing.
    `count` None: as many as have their full context.
    """

    stream: str
    values_SC: Float
    count: int | None = None
    last: int | None = None  # number of the newest slot: calls that follow each other need not begin anew
    cold: bool = False  # judge by the generic prior even if there is a student: it is that of another grid

    def scored(self, reach: int) -> int:
        """Slots to be scored when a score looks at `reach` of them."""
        return max(0, len(self.values_SC) - reach + 1) if self.count is None else self.count


@dataclass(frozen=True)
class SegmentScore:
    """Scores of the K last slots of a segment of C channels. NaN (index −1): not scorable there."""

    stream: str
    version: str | None  # of the student, None when the stream has none
    views: list[ViewName]
    surprise_K: Float  # what alerts: P(surprise ≥ s) ≈ 10^-s a slot on normal data
    rank_K: Float  # the same without what alerts before a shape is complete: says where the worst of a stream is
    channel_KC: Float  # the same a channel
    view_KC: npt.NDArray[np.int16]  # index into `views`: the loudest
    scale_KC: npt.NDArray[np.int16]  # slots of that view's window
    nearest_KC: npt.NDArray[np.int16]  # nearest prototype at the scale next to it
    expected_KC: Float  # what that prototype expects, in the data's unit
    low_KC: Float
    high_KC: Float
    deviation_KC: Float  # root mean square over the window's newest points, with the sign of their mean; data's unit
    teacher_K: npt.NDArray[np.bool_]  # the LLM was asked
    lag_K: npt.NDArray[np.int16]  # slots from the middle of the windows that fired to the slot
    warming: bool = False  # the stream has no student: these are the generic prior's


def views_of(layout: Layout) -> list[ViewName]:
    """All views of a layout, in the order that indices count them."""
    plains = [ViewName(plain.word, 0, plain.slots) for plain in PLAIN_VIEWS]
    prototypes = [ViewName("prototype", 0, scale) for scale in layout.scales]
    deep = [ViewName("teacher", depth, scale) for scale in layout.teacher_scales for depth in layout.depths]
    return [*plains, *prototypes, *(deep if layout.teacher else []), ViewName("shape", 0, 0)]


def unscored(stream: str, count: int, channels: int, version: str | None = None) -> SegmentScore:
    """What a stream gets that cannot be scored."""

    def nothing() -> Float:
        return np.full((count, channels), np.nan, np.float32)

    return SegmentScore(
        stream,
        version,
        [],
        np.full(count, np.nan, np.float32),
        np.full(count, np.nan, np.float32),
        nothing(),
        np.full((count, channels), -1, np.int16),
        np.full((count, channels), -1, np.int16),
        np.full((count, channels), -1, np.int16),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        np.zeros(count, np.bool_),
        np.zeros(count, np.int16),
    )
