"""The one door between models and the worker: what a bank is asked, and what it answers.

`detector.live` imports nothing else of `detector.model`. Importing this module does not import torch; `open_bank` and
`open_store` do, when they are called. Shapes: K scored slots, S slots of a segment, C channels,
W phases of a week, V levels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from streamer.contracts import ModelRecord, ModelRef
from streamer.errors import AnomalyLLMError

if TYPE_CHECKING:
    from detector.model.artefact import ArtefactStore
    from detector.model.banks import StudentBank
    from detector.settings import ComputeSettings

Float = npt.NDArray[np.float32]


class Levels(NamedTuple):
    """Levels that channels have stayed at for weeks.

    >>> Levels(np.array([[10.0, 15.0]]), np.array([[0.5, 0.0]])).around_CV > 0
    array([[ True, False]])
    """

    at_CV: Float
    around_CV: Float  # how far slots scatter around each; 0: there is no such level


class ViewName(NamedTuple):
    """One view: what turns the window that ends at a slot into one number.

    >>> ViewName("prototype", depth=0, scale=16).scale
    16
    """

    name: str  # "prototype", "shape", "teacher", of plain views "mahalanobis", "forecast", …; of the prior "level", …
    depth: int  # 0: the window itself; above: output of that block of the teacher
    scale: int  # slots; of shapes 0, for each row has widths of its own: see `SegmentScore.scale_KC`


class Clock(NamedTuple):
    """When the slots of a stream are, and its blocks of minutes (streamer/windows/coarse.py).

    >>> clock = Clock(60 * 10**9, 0, "Europe/Berlin", 300 * 10**9, lambda first, count: np.zeros((count, 1)))
    >>> clock.blocks(0, 2).shape
    (2, 1)
    """

    interval_ns: int
    phase_ns: int
    zone: str | None  # time zone of its people; None: UTC
    block_ns: int
    blocks: Callable[[int, int], npt.NDArray[np.float64]]  # (first, count) → their means (count, channels), NaN unknown


@dataclass(frozen=True)
class Segment:
    """Slots of one stream to be scored.

    `values_SC` float32 (slots, channels), NaN = gap; the last `count` slots are scored. A slot's score depends on the
    `Bank.context_of(stream)` slots up to it; where fewer are given, the rest counts as missing.
    `count` None: as many as have their full context.

    >>> segment = Segment("web.cpu", np.zeros((100, 1), np.float32))
    >>> segment.scored(reach=96)
    5
    """

    stream: str
    values_SC: Float
    count: int | None = None
    last: int | None = None  # number of the newest slot: calls that follow each other need not begin anew
    cold: bool = False  # judge by the generic prior even if there is a student: it is that of another grid
    clock: Clock | None = None  # None: no season is looked at

    @property
    def channels(self) -> int:
        """How many channels it has."""
        return int(self.values_SC.shape[1])

    def newest(self, slots: int) -> Float:
        """The newest slots of every channel, (channels, slots); all where there are fewer."""
        return self.values_SC[-slots:].T

    def scored(self, reach: int) -> int:
        """Slots to be scored when a score depends on `reach` of them."""
        return max(0, len(self.values_SC) - reach + 1) if self.count is None else self.count


@dataclass
class SegmentScore:
    """Scores of the K last slots of a segment of C channels. NaN (index −1): not scorable there.

    >>> unscored("web.cpu", count=2, channels=1).surprise_K
    array([nan, nan], dtype=float32)
    """

    stream: str
    version: str | None  # of the student, None when the stream has none
    views: list[ViewName]
    surprise_K: Float  # what alerts: P(surprise ≥ s) ≈ 10^-s a slot on normal data
    # The same without what alerts before a shape is complete, and with the season: says where the worst of a stream is.
    rank_K: Float
    channel_KC: Float  # surprise of each channel
    view_KC: npt.NDArray[np.int16]  # index into `views`: the one that contributes most
    scale_KC: npt.NDArray[np.int16]  # slots of that view's window
    nearest_KC: npt.NDArray[np.int16]  # nearest prototype at the scale next to it
    expected_KC: Float  # what that prototype expects, in the data's unit
    low_KC: Float
    high_KC: Float
    deviation_KC: Float  # root mean square over the window's newest points, with the sign of their mean; data's unit
    teacher_K: npt.NDArray[np.bool_]  # the LLM was asked
    lag_K: npt.NDArray[np.int16]  # slots from the middle of the windows that fired to the slot
    warming: bool = False  # the stream has no student: these are the generic prior's
    # Surprise (uncapped) of each column of `detector.persistence.NAMES`; the loudest channel's, less log10 of the channels.
    # None: the stream has no season yet.
    season_KS: Float | None = None
    season_sign_K: Float | None = None  # +1 above, −1 below what was expected, 0 neither
    season_channel_K: npt.NDArray[np.int16] | None = None
    season_low_K: Float | None = None  # band of that channel expected without the incident, data's unit
    season_high_K: Float | None = None
    season_expected_K: Float | None = None
    season_top: float = 0.0  # the largest of `season_KS`
    untimed: bool = False  # weeks have shown no season
    levels: Levels | None = None  # None: no channel has any, or the season knows them by their time
    season_word: str = ""  # what the season is, for people: "usual at this time of a Tuesday"


class Week(NamedTuple):
    """A stream's season: the band at each phase of five minutes of a local week from Monday 00:00, data's unit.

    >>> week = Week(*(np.full((2016, 1), value, np.float32) for value in (3, 7, 12)))
    >>> float(week.high_WC[0, 0])
    12.0
    """

    low_WC: Float
    expected_WC: Float
    high_WC: Float


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


class Bank(Protocol):
    """What judging needs: scores, and which student is in force. `StudentBank` is one."""

    context: int  # slots that a score of any stream depends on, at most

    def context_of(self, stream: str, cold: bool = False) -> int:
        """Slots that the stream's scores depend on: with `cold` those of the generic prior."""
        ...

    def model_of(self, stream: str) -> ModelRef | None:
        """The student in force."""
        ...

    def score(self, segments: Sequence[Segment]) -> Sequence[SegmentScore]:
        """All segments in one call, in order."""
        ...


class InstallableBank(Bank, Protocol):
    """What the worker needs besides: to follow the models that are announced."""

    def install(self, records: Sequence[ModelRecord], store: "ArtefactStore") -> Mapping[str, AnomalyLLMError]:
        """Bring promoted students into force; returns the streams whose student could not be loaded, with the reason."""
        ...

    def remove(self, stream: str) -> None:
        """Forget a stream's student."""
        ...

    def usual_of(self, stream: str) -> Week | None:
        """The band of the stream's season through a week; None where it has none."""
        ...

    def with_teacher(self) -> int:
        """Streams whose windows may reach the teacher."""
        ...

    def ask_teacher(self, wanted: bool) -> None:
        """Whether windows reach the teacher at all, from the next call of `score` on."""
        ...


def open_bank(settings: "ComputeSettings") -> "StudentBank":
    """An empty bank on the device of the settings; importing torch takes seconds, so call it in a thread."""
    from detector.model.banks import StudentBank
    from detector.model.teacher import device_of
    from detector.model.teachers import Teachers

    return StudentBank(Teachers(settings), device_of(settings))


async def open_store(settings: "ComputeSettings") -> "ArtefactStore":
    """The store of the settings, however long it is away. Raises ConfigError when its address cannot be one."""
    from detector.model import opening

    return await opening.open_store(settings)
