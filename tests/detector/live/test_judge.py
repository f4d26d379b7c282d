"""One micro-batch: batching changes nothing, late data, floors and directions, failures of the bank."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.incidents.machine import Tracker, Transition
from detector.incidents.record import StreamState
from detector.incidents.recurring import Recurrence
from detector.incidents.wording import anomaly
from detector.live.cache import Entry
from detector.live.judge import BRIDGED, Judge
from detector.live.stepping import Emit
from detector.model.interface import Segment, SegmentScore
from detector.model.pooling import FILL
from detector.persistence import COLUMNS
from streamer.contracts import StreamSettings
from streamer.windows.standing import Standing
from streamer.windows.wire import FLAG_HISTORY
from testkit.fakes import SETTINGS, FakeBank, change_of, column, entry_of, state_of

NORMAL = [10.0] * 30
NONE = StreamSettings()


class Published:
    """What was published, as plain tuples."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.evidence: list[dict[str, Any]] = []

    def __call__(self, entry: Entry, stream_state: StreamState, transition: Transition) -> None:
        e = transition.episode
        self.events.append((entry.stream, transition.state, e.anchor - 1000, e.revision, e.onset - 1000, e.peak))
        self.evidence.append(dict(e.evidence))


def feed(
    values: list[float], cuts: list[int] | None = None, given: StreamSettings | None = None, **own: Any
) -> tuple[Published, Entry, StreamState]:
    """Judge values after a normal start, cut into batches of these sizes (default: one slot each)."""
    entry = entry_of("a", column(NORMAL))
    stream_state = state_of(entry)
    judge = Judge(FakeBank(), SETTINGS.model_copy(update=own), {"a": given} if given else {})
    published, at, seq = Published(), 0, 2
    for size in cuts or [1] * len(values):
        if at < len(values):
            entry.follow(change_of(seq, 1030 + at, values[at : at + size]))
            run(judge, published, entry, stream_state)
            at, seq = at + size, seq + 1
    return published, entry, stream_state


def run(judge: Judge, published: Emit, *pairs: Any) -> None:
    judgements = [
        judge.judgement(entry, stream_state) for entry, stream_state in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    judge.run([judgement for judgement in judgements if judgement is not None], published)


class SeasonedBank(FakeBank):
    """Its season finds as much as its students, in a slot and in five minutes."""

    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """One call."""
        made = []
        for score in super().score(segments):
            count = len(score.surprise_K)
            season_KS = np.zeros((count, COLUMNS), np.float32)
            season_KS[:, :2] = score.surprise_K[:, None]
            same = np.full(count, 10.0, np.float32)
            made.append(
                replace(
                    score, season_KS=season_KS, season_sign_K=np.ones(count, np.float32), season_top=float(season_KS.max()),
                    season_channel_K=np.zeros(count, np.int16), season_low_K=same - 1, season_high_K=same + 1,
                    season_expected_K=same,
                )
            )  # fmt: skip
        return made


@pytest.mark.parametrize("cut", [1, 4, 40])
def test_what_both_families_nearly_find_opens_however_it_is_cut(cut: int) -> None:
    entry = entry_of("a", column(NORMAL))
    stream_state = state_of(entry)
    judge, published = Judge(SeasonedBank(), SETTINGS, {}), Published()
    values = [*[10.0] * 4, *[14.3] * 6, *[10.0] * 50]
    for seq, at in enumerate(range(0, 60, cut), 2):
        entry.follow(change_of(seq, 1030 + at, values[at : at + cut]))
        run(judge, published, entry, stream_state)
    assert [(state, onset) for _, state, _, _, onset, _ in published.events] == [("open", 34)]


def test_what_is_passed_over_is_counted_and_can_be_seen() -> None:
    entry = entry_of("a", column(NORMAL))
    stream_state, day = state_of(entry), 86_400 * 10**9 // entry.interval_ns
    before = 1034 - day
    stream_state.tracker.usual = [Recurrence(before, before, before, before + 6, peak=50.0, reach=50.0)]
    judge, published = Judge(SeasonedBank(), SETTINGS, {}), Published()
    for seq, value in enumerate([*[10.0] * 4, *[14.3] * 6, *[10.0] * 50]):
        entry.follow(change_of(2 + seq, 1030 + seq, [value]))
        run(judge, published, entry, stream_state)
    assert not published.events
    assert judge.passed_over == 1
    seen = Standing.from_state(stream_state.to_json()).passed_over_ms
    assert seen is not None
    assert 1034 <= (seen * 10**6 - entry.phase_ns) / entry.interval_ns < 1040


VALUES = st.lists(
    st.one_of(st.floats(9, 11), st.floats(5, 15), st.sampled_from([10.0, 25.0, float("nan")])), min_size=1, max_size=120
)


@settings(deadline=None)
@given(VALUES, st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_any_batching_of_a_cold_stream_tells_the_same(values: list[float], cuts: list[int]) -> None:
    def published(cuts: list[int]) -> list[tuple[Any, ...]]:
        entry = entry_of("cold", column(NORMAL))
        stream_state, published, at, seq = state_of(entry, model=None), Published(), 0, 2
        judge = Judge(FakeBank(), SETTINGS, {})
        for size in [*cuts, len(values)]:
            if at < len(values):
                entry.follow(change_of(seq, 1030 + at, values[at : at + size]))
                run(judge, published, entry, stream_state)
                at, seq = at + size, seq + 1
        return published.events

    assert published(cuts) == published([1] * len(values))


@settings(deadline=None)
@given(VALUES, st.lists(st.integers(1, 60), min_size=1, max_size=60), st.sampled_from([1, 3]))
def test_any_batching_tells_the_same(values: list[float], cuts: list[int], stride: int) -> None:
    one_by_one, entry, stream_state = feed(values, stride=stride)
    cut, entry_cut, state_cut = feed(values, [*cuts, len(values)], stride=stride)
    assert cut.events == one_by_one.events
    assert state_cut.tracker == stream_state.tracker
    assert entry_cut.scored == entry.scored


def test_an_event_has_its_reason() -> None:
    published, *_ = feed([*NORMAL, 20.0, *NORMAL])
    assert [event[1] for event in published.events] == ["open", "resolved"]
    (channel,) = published.evidence[0].pop("channels")
    assert channel == {"channel": "value", "share": 1.0, "value": 20.0, "expected": 10.0, "low": 9.0, "high": 11.0}
    here = {k: v for k, v in channel.items() if k != "share"} | {"slot": 1060, "reach": 4.5}
    assert published.evidence[0] == {
        "deviation": 10.0, "view": "prototype", "scale": 4, "depth": 0, "nearest": 7, "teacher": False,
        "model": "v1", "warming": False, "offsets": [5, 6], "students": 10.0, "onset": here, "extreme": here,
    }  # fmt: skip


def test_evidence_is_that_of_the_peak() -> None:
    published, *_ = feed([16, 16, 19, 16, 16])
    assert published.events[-1][-1] == 9.0
    assert published.evidence[-1]["channels"][0]["value"] == 19.0


def test_direction_floors_and_pause() -> None:
    def opened(value: float, **given: Any) -> bool:
        return bool(feed([value] * 3, given=StreamSettings(**given))[0].events)

    assert opened(20)
    assert opened(20, direction="up")
    assert not opened(20, direction="down")
    assert opened(0, direction="down")
    assert not opened(20, floor_abs=10.5)
    assert opened(20, floor_abs=9.5)
    assert not opened(20, floor_rel=1.05)
    assert not opened(20, paused=True)


def test_a_larger_budget_opens_earlier() -> None:
    assert not feed([13.5] * 3)[0].events
    assert feed([13.5] * 3, given=StreamSettings(alert_budget=10))[0].events
    # At 10 Hz a week has 6 048 000 slots: 6 048 alerts in them are 10 in 10 000 slots.
    assert feed([13.5] * 3, given=StreamSettings(alerts_per_week=6048))[0].events
    assert not feed([14.5] * 3, given=StreamSettings(alerts_per_week=10))[0].events


def test_late_data_retract_and_open() -> None:
    published, entry, stream_state = feed([*NORMAL, 20, 20, 10])
    judge = Judge(FakeBank(), SETTINGS, {})
    entry.follow(change_of(entry.seq + 1, 1060, [10, 10]))
    run(judge, published, entry, stream_state)
    assert [event[1:4] for event in published.events] == [("open", 60, 0), ("retracted", 60, 1)]
    entry.follow(change_of(entry.seq + 1, 1040, [20, 20]))
    run(judge, published, entry, stream_state)
    assert [event[1:4] for event in published.events[2:]] == [("open", 40, 0), ("resolved", 40, 1)]
    assert published.evidence[-1]["channels"][0]["value"] == 20.0


def test_slots_before_the_model_are_not_judged_again() -> None:
    entry = entry_of("a", column(NORMAL))
    stream_state = state_of(entry, model_since=1030)
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry.follow(change_of(2, 1020, [20, 20]))
    run(judge, published, entry, stream_state)
    assert published.events == []
    assert entry.late_from is None


def test_a_long_hole_is_quiet() -> None:
    published, entry, stream_state = feed([20, 20, *[float("nan")] * 2000, 10], cuts=[2, 2001])
    assert [event[1] for event in published.events] == ["open", "resolved"]
    assert stream_state.tracker.idle
    assert entry.scored == 1030 + 2002


def test_streams_without_a_student_are_judged_by_the_prior() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("cold", column(NORMAL))
    stream_state = state_of(entry, model=None)
    entry.follow(change_of(2, 1030, [99, 99]))
    run(judge, published, entry, stream_state)
    assert [event[:2] for event in published.events] == [("cold", "open")]
    assert (published.evidence[0]["model"], published.evidence[0]["warming"]) == (None, True)
    assert (stream_state.model, stream_state.warming, stream_state.model_since, stream_state.judged) == (
        None,
        True,
        1030,
        True,
    )
    assert entry.scored == 1031


def test_warming_streams_are_passed_over_when_that_is_switched_off() -> None:
    entry = entry_of("cold", column(NORMAL))
    stream_state = state_of(entry, model=None)
    entry.follow(change_of(2, 1030, [99, 99]))
    assert Judge(FakeBank(), SETTINGS.model_copy(update={"warming": False}), {}).judgement(entry, stream_state) is None
    assert entry.scored == 1031
    assert not stream_state.judged


def test_history_of_a_cold_stream_does_not_alert() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("cold", column(NORMAL))
    stream_state = state_of(entry, model=None)
    entry.follow(change_of(2, 1030, [99, 99, 99], flags=FLAG_HISTORY))
    run(judge, published, entry, stream_state)
    assert published.events == []
    entry.follow(change_of(3, 1010, [99, 99, 99]))  # late, and of the history's time
    run(judge, published, entry, stream_state)
    assert published.events == []


def test_an_incident_of_a_warming_stream_goes_on_with_its_first_student() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("cold", column(NORMAL))
    stream_state = state_of(entry, model=None)
    entry.follow(change_of(2, 1030, [20, 20]))
    run(judge, published, entry, stream_state)
    judge, entry.stream = Judge(FakeBank(), SETTINGS, {}), "fitted since"
    entry.follow(change_of(3, 1032, [21, 10, 10, 10, 10, 10]))
    run(judge, published, entry, stream_state)
    assert [event[1:4] for event in published.events] == [("open", 30, 0), ("update", 30, 1), ("resolved", 30, 2)]
    assert [(evidence["model"], evidence["warming"]) for evidence in published.evidence] == [
        (None, True), ("v1", False), ("v1", False),
    ]  # fmt: skip
    assert (stream_state.model, stream_state.warming, stream_state.model_since) == ("v1", False, 1032)


def test_a_student_of_another_grid_leaves_the_stream_to_the_prior() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("a", column(NORMAL), grid_version=2)
    stream_state = state_of(entry, grid_version=2)
    entry.follow(change_of(2, 1030, [20, 20], grid_version=2))
    run(judge, published, entry, stream_state)
    assert published.evidence[0]["warming"]
    assert (stream_state.model, stream_state.warming) == (None, True)


def test_what_is_muted_stays_so_when_a_student_is_taken_away() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("cold", column(NORMAL))
    stream_state = state_of(entry)  # it has had one
    stream_state.tracker.muted = 11.5
    entry.follow(change_of(2, 1030, [20, 20]))
    run(judge, published, entry, stream_state)
    assert (stream_state.model, stream_state.warming, stream_state.tracker.muted) == (None, True, 11.5)
    assert published.events == []


def test_late_data_of_a_young_stream_are_judged_again() -> None:
    judge, published = Judge(FakeBank(), SETTINGS, {}), Published()
    entry = entry_of("cold", column([]).reshape(0, 1), lo=1000)
    stream_state = state_of(entry, model=None)
    entry.follow(change_of(2, 1000, [10, 10, 10, 20, 20, 10]))
    run(judge, published, entry, stream_state)
    entry.follow(change_of(3, 1003, [10, 10]))
    run(judge, published, entry, stream_state)
    assert [event[1] for event in published.events] == ["open", "retracted"]


def test_a_new_student_is_in_force_from_the_next_slot() -> None:
    bank, published = FakeBank(), Published()
    judge = Judge(bank, SETTINGS, {})
    entry = entry_of("a", column(NORMAL))
    stream_state = state_of(entry)
    stream_state.tracker.muted = 5.0
    bank.version = "v2"
    entry.follow(change_of(2, 1030, [10]))
    run(judge, published, entry, stream_state)
    assert (stream_state.model, stream_state.model_since) == ("v2", 1030)
    assert stream_state.tracker == Tracker()


def test_one_broken_stream_does_not_silence_the_others() -> None:
    bank, published = FakeBank(), Published()
    bank.broken = {"bad"}
    judge = Judge(bank, SETTINGS, {})
    good, bad = entry_of("good", column(NORMAL)), entry_of("bad", column(NORMAL))
    for entry in (good, bad):
        entry.follow(change_of(2, 1030, [20, 20]))
    run(judge, published, good, state_of(good), bad, state_of(bad))
    assert [event[:2] for event in published.events] == [("good", "open")]
    assert judge.windows == 2
    assert bad.scored == 1031


def test_an_incident_of_a_stream_that_cannot_be_scored_any_more_says_so() -> None:
    bank, told = FakeBank(), []
    judge = Judge(bank, SETTINGS, {})
    entry = entry_of("bad", column(NORMAL))
    stream_state, seq = state_of(entry), 2

    def emit(entry: Entry, stream_state: StreamState, transition: Transition) -> None:
        told.append((transition.state, transition.episode.end_reason, anomaly(entry.stream, transition, 0.1, NONE)))

    def feed_on(*values: float) -> None:
        nonlocal seq
        entry.follow(change_of(seq, entry.hi + 1, values))
        seq += 1
        run(judge, emit, entry, stream_state)

    feed_on(20, 20)
    bank.broken = {"bad"}
    for _ in range(SETTINGS.quiet + 1):
        feed_on(20)
    assert [row[:2] for row in told if row[0] != "update"] == [("open", "returned"), ("resolved", "unjudged")]
    assert "not judged any more, for scoring it fails (RuntimeError: broken): whether it is over is not" in told[-1][2]
    assert judge.unjudged == {"bad": "scoring it fails (RuntimeError: broken)"}
    bank.broken = set()
    feed_on(20)
    assert not judge.unjudged


def test_a_young_student_is_asked_for_what_its_history_can_back() -> None:
    judge, entry, warm = (
        Judge(FakeBank(), SETTINGS, {}),
        entry_of("a", column(NORMAL)),
        StreamSettings(alert_budget=0.1),
    )
    second = 10**9
    at = [judge.rules_of(NONE, second, slots=slots).threshold for slots in (256, 600, 2000, 8192)]
    assert at == sorted(at)
    assert 4.0 < at[0] < at[1] < 4.7
    assert at[2:] == [5.0, 5.0]
    assert judge.rules_for(entry, False).threshold == judge.rules_of(NONE, entry.interval_ns, slots=2000).threshold
    assert judge.rules_of(warm, second, slots=256).threshold == 5.0  # what a person asks for counts


def test_nothing_judges_a_stream_without_student_and_prior() -> None:
    entry = entry_of("cold", column(NORMAL))
    judge = Judge(FakeBank(), SETTINGS.model_copy(update={"warming": False}), {})
    assert judge.judgement(entry, state_of(entry, model=None)) is None
    assert "no model" in judge.why_not(entry)


def test_many_streams_are_one_call() -> None:
    bank, published = FakeBank(), Published()
    judge = Judge(bank, SETTINGS, {})
    pairs: list[Any] = []
    for number in range(50):
        entry = entry_of(f"s{number}", column(NORMAL))
        entry.follow(change_of(2, 1030, [20.0 if number == 7 else 10.0]))
        pairs += [entry, state_of(entry)]
    run(judge, published, *pairs)
    assert bank.calls == [50]
    assert [event[0] for event in published.events] == ["s7"]


def test_the_loudest_channel_leads() -> None:
    entry = entry_of("a", np.full((30, 3), 10.0))
    values = np.array([[10, 30, 16], [10, 30, 16]], np.float32)
    entry.follow(change_of(2, 1030, values))
    published = Published()
    run(Judge(FakeBank(), SETTINGS, {}), published, entry, state_of(entry))
    shares = [(channel["channel"], channel["share"]) for channel in published.evidence[0]["channels"]]
    assert [name for name, _ in shares] == ["c1", "c2", "c0"]
    assert sum(share for _, share in shares) == 1.0


def test_of_every_tenth_slot_alone_is_judged_what_comes_without_gaps() -> None:
    judge, entry = Judge(FakeBank(), SETTINGS.model_copy(update={"stride": 10}), {}), entry_of("a", column(NORMAL))
    for number in range(9):
        entry.follow(change_of(2 + number, 1030 + 30 * number, np.full(30, 10.0)))
        run(judge, Published(), entry, state_of(entry))
        assert judge.is_judged(entry)


def test_points_behind_gaps_that_nothing_bridges_count_as_not_judged() -> None:
    assert BRIDGED == FILL
    judge, cases = Judge(FakeBank(), SETTINGS, {}), {1: False, 2: False, 4: False, 5: True, 40: True}
    for every, unjudged in cases.items():
        for piece in (1, 7):
            entry = entry_of("a", column(NORMAL))
            for number, at in enumerate(range(0, 66 * every, piece * every)):
                values = np.full(piece * every, np.nan)
                values[::every] = 10.0
                entry.follow(change_of(2 + number, 1030 + at, values[: (piece - 1) * every + 1]))
                run(judge, Published(), entry, state_of(entry))
            assert (judge.why_unjudged(entry), judge.is_judged(entry)) == ("gaps" if unjudged else None, not unjudged)
    entry.unscored = 8
    entry.follow(change_of(900, entry.hi + 1, [10.0]))
    entry.follow(change_of(901, entry.hi + 1, [10.0]))
    run(judge, Published(), entry, state_of(entry))
    assert judge.is_judged(entry)


def test_who_is_judged_by_nothing_says_why() -> None:
    bank = FakeBank()
    entry = entry_of("cold", column(NORMAL), state="irregular")
    assert Judge(bank, SETTINGS, {}).why_unjudged(entry) == "irregular"
    bank.broken = {"bad"}
    judge, bad = Judge(bank, SETTINGS, {}), entry_of("bad", column(NORMAL))
    bad.follow(change_of(2, 1030, [10.0] * 70))
    run(judge, Published(), bad, state_of(bad))
    assert judge.why_unjudged(bad) == "failing"
    cold = entry_of("cold", column(NORMAL))
    cold.follow(change_of(2, 1030, [10.0] * 70))
    judge = Judge(bank, SETTINGS.model_copy(update={"warming": False}), {})
    assert judge.judgement(cold, state_of(cold, model=None)) is None
    assert judge.why_unjudged(cold) == "no_model"
