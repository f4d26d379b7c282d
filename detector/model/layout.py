"""What one student is, as rows of stacked tensors, and what it makes of windows without the teacher (depth 0)."""

from dataclasses import dataclass, field

from detector.model import calibration
from detector.model.periods import PERIOD_MAX
from detector.model.pooling import FILL, POINTS, points_of
from detector.model.views import shapes
from detector.model.views.forecast import Forecast
from detector.model.views.plain import Difference, Mahalanobis, MovingStd, PlainView

FEW = 8  # this many distinct values or fewer: states, flags, small counts


# Each sees what the others miss; together they beat any one of them and any learnt mixture on KPIs and telemetry.
PLAIN_VIEWS: tuple[PlainView, ...] = (
    Mahalanobis(8),
    Mahalanobis(16),
    Mahalanobis(64),
    Forecast(1, 16),
    Forecast(8, 8),
    MovingStd(8),
    MovingStd(32),
    Difference(),
)
# Slots up to and including a scored one that any view depends on: two seasons, or the widest shape.
CONTEXT = max(2 * PERIOD_MAX + 1, shapes.REACH) + FILL


@dataclass(frozen=True)
class Layout:
    """What must agree between two students that stand in one stack.

    The last three say how to load the teacher again. They do not count when layouts are compared: `teacher` stands for
    them, and one teacher may lie in several places.
    """

    scales: tuple[int, ...]
    prototypes: int
    shapes: int  # shape views kept for each row
    medoids: int
    teacher: str = ""  # identity of the teacher, "" without one
    depths: tuple[int, ...] = ()
    teacher_scales: tuple[int, ...] = ()
    outputs: int = 0
    teacher_name: str = field(default="", compare=False)  # package, folder or id
    patch: int = field(default=0, compare=False)
    seed: int = field(default=0, compare=False)

    @property
    def shallow(self) -> "Layout":
        """The same without a teacher."""
        return Layout(self.scales, self.prototypes, self.shapes, self.medoids)

    @property
    def views(self) -> int:
        """Views at depth 0 that every row has."""
        return len(PLAIN_VIEWS) + len(self.scales)

    @property
    def spans(self) -> list[int]:
        """Slots that the windows of those views cover."""
        return [*(plain.slots for plain in PLAIN_VIEWS), *self.scales]

    @property
    def deep_views(self) -> int:
        """Views of the teacher: scale by scale, the depths of each."""
        return len(self.teacher_scales) * len(self.depths)

    def view_of(self, scale: int) -> int:
        """Index of the prototype view of a scale."""
        return len(PLAIN_VIEWS) + self.scales.index(scale)

    def shallow_fields(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading R of what a row has at depth 0."""
        found: dict[str, tuple[int, ...]] = {
            "centre": (),
            "scale": (),
            "period": (),
            "widen": (),
            "blend": (),  # weight of the shape memory's surprise: 0 there is none, 1 full
            "rest": (),  # up to where surprise without shapes counts beside it
            # Surprise of a value never seen, of rows with few values beside other channels; 0: all other rows.
            "novel": (),
            "levels": (FEW,),  # the values they have shown
            "lag": (),  # slots from the middle of the windows that fire to the slot they are scored at
            "view_cal": (self.views, calibration.WIDTH),
            "row_cal": (calibration.WIDTH,),
        }
        for plain in PLAIN_VIEWS:
            found |= plain.shapes()
        for scale in self.scales:
            found[f"proto.{scale}"] = (self.prototypes, points_of(scale))
            found[f"radius.{scale}"] = (self.prototypes,)
            found[f"band.{scale}"] = (self.prototypes,)
            found[f"used.{scale}"] = (self.prototypes,)
        return found

    def deep_fields(self) -> dict[str, tuple[int, ...]]:
        """The same of what a row has for the teacher."""
        if not self.teacher:
            return {}
        found: dict[str, tuple[int, ...]] = {
            "gate": (),  # depth-0 surprise from which a window goes to the teacher
            "gate_cal": (calibration.WIDTH,),
            "deep": (self.deep_views,),  # weight of each view of the teacher beside depth 0's 1
        }
        for scale in self.teacher_scales:
            found[f"tokens.{scale}"] = (self.prototypes, len(self.depths), self.outputs)
            found[f"ridge.{scale}"] = (len(self.depths), 2 * POINTS + 1, self.outputs)
            found[f"spread.{scale}"] = (len(self.depths), self.outputs)
            found[f"teacher_cal.{scale}"] = (len(self.depths), calibration.WIDTH)
        return found

    def row_fields(self) -> dict[str, tuple[int, ...]]:
        """The same of everything a row has."""
        return self.shallow_fields() | self.deep_fields()

    def shape_fields(self) -> dict[str, tuple[int, ...]]:
        """The same of what a row with a shape memory has besides, as it is stored."""
        found: dict[str, tuple[int, ...]] = {f"shape.{name}": () for name in ("mean", "std", "step")}
        found |= {f"shape.{name}": (self.shapes,) for name in ("width", "kind", "weight", "centre", "unit")}
        found |= {f"shape.{name}": (self.shapes, self.medoids) for name in ("ends", "own")}
        # Of the shapes' fused score, and of its mixture with the rest of the row.
        return found | {"shape.cal": (calibration.WIDTH,), "shape.mix": (calibration.WIDTH,)}

    def stream_fields(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading S of everything a stream has."""
        # `correction`: decades by which alerts of its held-back history come more often than surprises promise.
        return {"stream_cal": (calibration.WIDTH,), "correction": ()}
