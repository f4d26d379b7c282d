"""When a stream asks for training."""

from detector.live.settings import WorkerSettings
from detector.training.due import Asked, Known, Wish, asking, known_of, pending, stage, wish
from streamer.contracts import ModelRecord, ModelRef

SETTINGS = WorkerSettings(teacher="none")
CAPACITY = 8192
NO_MODEL = Known(0, -1, None)


def ref(points: int, last: int, grid_version: int = 1) -> ModelRef:
    return ModelRef(
        version="v", uri="u", row=0, sha256="0" * 64, grid_version=grid_version, trained_slots=(0, last), points=points
    )


def test_stages() -> None:
    assert [stage(p) for p in (0, 300, 1023, 1024)] == ["cold", "warming", "warming", "ready"]


def test_cold_at_the_first_enough() -> None:
    assert wish(255, 254, CAPACITY, NO_MODEL, None, SETTINGS) is None
    assert wish(256, 255, CAPACITY, NO_MODEL, None, SETTINGS) == Wish("cold", "full")


def test_due_at_each_doubling() -> None:
    def due(filled: int, points: int) -> bool:
        return wish(filled, filled, CAPACITY, Known(points, points, "t"), None, SETTINGS) == Wish("due", "full")

    assert not due(511, 256)
    assert due(512, 256)
    assert due(8000, 4000)
    assert due(7800, 5000)
    assert not due(7700, 5000)


def test_prototype_updates_in_between() -> None:
    known = Known(2000, 2000, "t")
    assert wish(2500, 2511, CAPACITY, known, None, SETTINGS) is None
    assert wish(2500, 2512, CAPACITY, known, None, SETTINGS) == Wish("due", "prototypes")
    assert wish(900, 1400, CAPACITY, Known(800, 800, "t"), None, SETTINGS) is None  # warming: only full fits


def test_a_full_history_is_fitted_again_now_and_then() -> None:
    known = Known(8192, 20_000, "t")
    asked = asking(Wish("due", "full"), 20_000, known, None, 0)
    assert wish(8192, 20_500, CAPACITY, known, asked, SETTINGS) is None
    # an update in between moves what the model has learnt, not the fit
    updated = Known(8192, 20_600, "u")
    asked = asking(Wish("due", "prototypes"), 20_600, known, asked, 0)
    assert asked.full_slot == 20_000
    assert wish(8192, 24_095, CAPACITY, updated, asked, SETTINGS) == Wish("due", "prototypes")
    assert wish(8192, 24_096, CAPACITY, updated, asked, SETTINGS) == Wish("due", "full")


def test_a_fit_that_used_little_is_not_repeated_at_once() -> None:
    known = Known(300, 5000, "t")
    asked = asking(Wish("due", "full"), 5000, Known(250, 4000, "s"), None, 0)
    assert wish(8000, 5100, CAPACITY, known, asked, SETTINGS) is None
    assert wish(8000, 5300, CAPACITY, known, asked, SETTINGS) == Wish("due", "full")


def test_pending_until_answered_or_overdue_ever_more_rarely() -> None:
    asked = asking(Wish("cold", "full"), 300, NO_MODEL, None, 1_000)
    assert pending(asked, NO_MODEL, 60_999, SETTINGS)
    assert not pending(asked, NO_MODEL, 61_000, SETTINGS)
    assert not pending(asked, Known(0, -1, "answered"), 2_000, SETTINGS)
    again = asking(Wish("cold", "full"), 400, NO_MODEL, asked, 61_000)
    assert again.tries == 2
    assert pending(again, NO_MODEL, 180_999, SETTINGS)
    assert not pending(again, NO_MODEL, 181_000, SETTINGS)
    assert not pending(None, NO_MODEL, 0, SETTINGS)
    late = Asked(0, 0, "cold", "full", None, tries=50)
    assert not pending(late, NO_MODEL, 3_600_000, SETTINGS)


def test_what_is_known_is_of_this_grid() -> None:
    record = ModelRecord(stream="a", promoted=ref(300, 299), shadow=ref(600, 599), announced_at="t")
    assert known_of(record, 1) == Known(600, 599, "t")
    assert known_of(record, 2) == Known(0, -1, "t")
    assert known_of(None, 1) == NO_MODEL
