"""A stream as people look at it: in the unit of its data, with the threshold that its student has."""

import numpy as np

from detector.live import looking
from detector.live.judge import Judge
from streamer.contracts import ModelRef, StreamSettings
from streamer.windows.ring import StreamWindow
from testkit.fakes import SETTINGS, FakeBank, column, entry_of, header

OWN = StreamSettings()


class YoungBank(FakeBank):
    """Its student has seen 600 slots."""

    def model_of(self, stream: str) -> ModelRef | None:
        """The same but for its age."""
        made = super().model_of(stream)
        return None if made is None else made.model_copy(update={"points": 600})


def test_what_lies_on_a_scale_is_shown_in_the_unit_of_the_data() -> None:
    head = header(1000, 1029, scale=[(1.7e9, 2.0)])
    look = looking.seen(FakeBank(), "a", StreamWindow(head, column([10.0] * 30).astype(np.float32)), OWN, 20)
    assert look.values_SC[:, 0].tolist() == [1.7e9 + 20] * 20
    assert (look.low_SC[0, 0], look.expected_SC[0, 0], look.high_SC[0, 0]) == (1.7e9 + 18, 1.7e9 + 20, 1.7e9 + 22)


def test_the_threshold_is_the_judge_s() -> None:
    entry = entry_of("a", column([10.0] * 30))
    for bank in (FakeBank(), YoungBank()):
        window = StreamWindow(header(1000, 1029), column([10.0] * 30).astype(np.float32))
        told = Judge(bank, SETTINGS, {}).rules_for(entry, warming=False).threshold
        assert looking.seen(bank, "a", window, OWN, 20).threshold == told
