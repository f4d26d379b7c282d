"""When a stream asks for training."""

from detector.incidents.record import PendingRequest
from detector.live.settings import WorkerSettings
from detector.training.due import ModelFacts, Need, facts_of, is_pending, need_of, note_of, stage
from streamer.contracts import ModelRecord, ModelRef

SETTINGS = WorkerSettings()
CAPACITY = 8192
NO_MODEL = ModelFacts(0, -1, None)


def ref(points: int, last: int, grid_version: int = 1) -> ModelRef:
    return ModelRef(
        version="v", uri="u", row=0, sha256="0" * 64, grid_version=grid_version, trained_slots=(0, last), points=points
    )


def test_stages() -> None:
    assert [stage(p) for p in (0, 300, 1023, 1024)] == ["cold", "warming", "warming", "ready"]


def test_cold_at_the_first_enough() -> None:
    assert need_of(255, 254, CAPACITY, NO_MODEL, None, SETTINGS) is None
    assert need_of(256, 255, CAPACITY, NO_MODEL, None, SETTINGS) == Need("cold", "full")


def test_due_at_each_doubling() -> None:
    def due(filled: int, points: int) -> bool:
        return need_of(filled, filled, CAPACITY, ModelFacts(points, points, "t"), None, SETTINGS) == Need("due", "full")

    assert not due(511, 256)
    assert due(512, 256)
    assert due(8000, 4000)
    assert due(7800, 5000)
    assert not due(7700, 5000)


def test_prototype_updates_in_between() -> None:
    facts = ModelFacts(2000, 2000, "t")
    assert need_of(2500, 2511, CAPACITY, facts, None, SETTINGS) is None
    assert need_of(2500, 2512, CAPACITY, facts, None, SETTINGS) == Need("due", "prototypes")
    assert need_of(900, 1400, CAPACITY, ModelFacts(800, 800, "t"), None, SETTINGS) is None  # warming: only full fits


def test_a_full_history_is_fitted_again_now_and_then() -> None:
    facts = ModelFacts(8192, 20_000, "t")
    pending = note_of(Need("due", "full"), 20_000, facts, None, 0)
    assert need_of(8192, 20_500, CAPACITY, facts, pending, SETTINGS) is None
    # an update in between moves what the model has learnt, not the fit
    updated = ModelFacts(8192, 20_600, "u")
    pending = note_of(Need("due", "prototypes"), 20_600, facts, pending, 0)
    assert pending.full_slot == 20_000
    assert need_of(8192, 24_095, CAPACITY, updated, pending, SETTINGS) == Need("due", "prototypes")
    assert need_of(8192, 24_096, CAPACITY, updated, pending, SETTINGS) == Need("due", "full")


def test_a_fit_that_used_little_is_not_repeated_at_once() -> None:
    facts = ModelFacts(300, 5000, "t")
    pending = note_of(Need("due", "full"), 5000, ModelFacts(250, 4000, "s"), None, 0)
    assert need_of(8000, 5100, CAPACITY, facts, pending, SETTINGS) is None
    assert need_of(8000, 5300, CAPACITY, facts, pending, SETTINGS) == Need("due", "full")


def test_pending_until_answered_or_overdue_ever_more_rarely() -> None:
    pending = note_of(Need("cold", "full"), 300, NO_MODEL, None, 1_000)
    assert is_pending(pending, NO_MODEL, 60_999)
    assert not is_pending(pending, NO_MODEL, 61_000)
    assert not is_pending(pending, ModelFacts(0, -1, "answered"), 2_000)
    again = note_of(Need("cold", "full"), 400, NO_MODEL, pending, 61_000)
    assert again.tries == 2
    assert is_pending(again, NO_MODEL, 180_999)
    assert not is_pending(again, NO_MODEL, 181_000)
    assert not is_pending(None, NO_MODEL, 0)
    late = PendingRequest(0, 0, "cold", "full", None, tries=50)
    assert not is_pending(late, NO_MODEL, 3_600_000)


def test_what_is_known_is_of_this_grid() -> None:
    record = ModelRecord(stream="a", promoted=ref(300, 299), shadow=ref(600, 599), announced_at="t")
    assert facts_of(record, 1) == ModelFacts(600, 599, "t")
    assert facts_of(record, 2) == ModelFacts(0, -1, "t")
    assert facts_of(None, 1) == NO_MODEL
