"""Names of all views of a layout, in the order that indices count them."""

from detector.model.interface import ViewName
from detector.model.layout import PLAIN_VIEWS, Layout


def views_of(layout: Layout) -> list[ViewName]:
    """All views of a layout, in the order that indices count them."""
    plains = [ViewName(plain.word, 0, plain.slots) for plain in PLAIN_VIEWS]
    prototypes = [ViewName("prototype", 0, scale) for scale in layout.scales]
    deep = [ViewName("teacher", depth, scale) for scale in layout.teacher_scales for depth in layout.depths]
    return [*plains, *prototypes, *(deep if layout.teacher else []), ViewName("shape", 0, 0)]
