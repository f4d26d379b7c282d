"""Hostile messages among good ones: every good one is judged, every bad one answered (100 000: python -m bench.fuzz)."""

import os

import pytest

from streamer.settings import CommonSettings
from testkit.fuzzing import fuzz

pytestmark = pytest.mark.kafka


@pytest.mark.skipif(
    "ANOMALYLLM_TEST_KAFKA" in os.environ, reason="Kafka 4 itself refuses a record time stamp so far off"
)
async def test_every_good_message_is_judged_and_every_bad_one_answered(settings: CommonSettings) -> None:
    ran = await fuzz(settings, seed=0, hostile=3000, good=1000)
    assert ran.unanswered == []
    assert ran.reasons["internal"] == 0, ran.reasons
    assert {"json", "contract", "timestamp", "future", "value", "empty"} <= set(ran.reasons)
