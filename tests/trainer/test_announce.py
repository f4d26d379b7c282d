"""What a run says on `models`."""

from streamer.contracts import ModelRef
from trainer.announce import record_of
from trainer.fit.run import PASSED, GateResult


def ref(version: str) -> ModelRef:
    """A stored student."""
    return ModelRef(version=version, uri="u", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 9), points=2000)


def test_a_student_that_is_refused_says_why_and_the_one_in_force_stays() -> None:
    before = record_of("s", ref("a"), GateResult(True, 0.5, 0.9, PASSED), None)
    assert before.promoted is not None
    assert before.promoted.refused is None
    why = "sees 5% of the injected anomalies, 30% are asked for"
    after = record_of("s", ref("b"), GateResult(False, 0.5, 0.05, why), before)
    assert after.promoted == before.promoted
    assert after.shadow is not None
    assert (after.shadow.version, after.shadow.refused) == ("b", why)
