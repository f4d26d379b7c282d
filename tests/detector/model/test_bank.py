"""The bank: one call for all streams, and the same answer however the call is cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from detector.model.artefact import ArtefactStore
from detector.model.banks import StudentBank
from detector.model.interface import Segment, SegmentScore
from detector.model.teachers import Teachers
from streamer.contracts import ModelRecord
from testkit.simulation import fitted_bank, history, quick_settings, simulate, students_of
from trainer.fit.agreed import load_teacher
from trainer.fit.histories import History
from trainer.fit.run import Trained, train

SLOTS = 600


def _histories() -> list[History]:
    two = np.concatenate([simulate("wave", 7, SLOTS), simulate("white", 8, SLOTS)], 1)
    return [history(k, simulate(k, 0, SLOTS)) for k in ("wave", "white", "walk")] + [history("two", two)]


def _fresh(bank: StudentBank, kind: str, count: int, seed: int = 0) -> np.ndarray:
    return simulate(kind, seed, SLOTS + count)[-(bank.context_of(kind) + count - 1) :]


def _same(a: SegmentScore, b: SegmentScore, last: int) -> None:
    np.testing.assert_allclose(a.surprise_K[-last:], b.surprise_K[-last:], atol=1e-4)
    np.testing.assert_allclose(a.channel_KC[-last:], b.channel_KC[-last:], atol=1e-4)
    np.testing.assert_allclose(a.expected_KC[-last:], b.expected_KC[-last:], rtol=1e-4, atol=1e-4)
    assert (a.view_KC[-last:] == b.view_KC[-last:]).all()
    assert (a.teacher_K[-last:] == b.teacher_K[-last:]).all()


@pytest.mark.slow(2)
@pytest.mark.parametrize("teacher", [False, True])
def test_scores_do_not_depend_on_how_a_batch_is_cut(tmp_path: Path, teacher: bool) -> None:
    settings = quick_settings(tmp_path, teacher="random" if teacher else "none", teacher_budget=0.3)
    _, bank = fitted_bank(_histories(), settings, with_teacher=teacher)
    values = {kind: _fresh(bank, kind, 40) for kind in ("wave", "white", "walk")}
    whole = dict(zip(values, bank.score([Segment(k, v) for k, v in values.items()]), strict=True))
    for kind, value in values.items():
        [alone] = bank.score([Segment(kind, value)])
        _same(whole[kind], alone, 40)
        single = [bank.score([Segment(kind, value[i : i + bank.context_of(kind)])])[0] for i in range(40)]
        merged = np.concatenate([s.surprise_K for s in single])
        np.testing.assert_allclose(merged, whole[kind].surprise_K, atol=1e-4)
    if teacher:
        assert any(score.teacher_K.any() for score in whole.values())


@pytest.mark.slow(1)
@pytest.mark.parametrize("shape_share", [0.0, 1.0])
@pytest.mark.parametrize(
    ("budget", "low", "high"), [(0.01, 0.001, 0.04), (0.05, 0.01, 0.12), (0.3, 0.15, 0.45), (1.0, 1.0, 1.0)]
)
def test_the_budget_is_kept_and_the_gate_makes_no_seam(
    tmp_path: Path, budget: float, low: float, high: float, shape_share: float
) -> None:
    """What passed the gate and what did not are one distribution: about 10^-s of the slots reach a surprise of s."""
    window_changes = {"teacher": "random", "teacher_budget": budget, "shape_share": shape_share}
    settings = quick_settings(tmp_path, **window_changes)
    _, bank = fitted_bank([history("heavy", simulate("heavy", 0, 4096))], settings, with_teacher=True)
    [alone] = fitted_bank(
        [history("heavy", simulate("heavy", 0, 4096))], quick_settings(tmp_path, shape_share=shape_share)
    )[1:]
    values = simulate("heavy", 1, 8000 + bank.context_of("heavy") - 1)
    [score] = bank.score([Segment("heavy", values)])
    [shallow] = alone.score([Segment("heavy", values)])
    assert low <= score.teacher_K.mean() <= high
    passed_K = score.teacher_K
    np.testing.assert_allclose(score.rank_K[~passed_K], shallow.rank_K[~passed_K], atol=1e-4)
    gate = -np.log10(budget)
    assert (shallow.rank_K[passed_K] >= gate - 1e-4).all()
    assert (score.rank_K[passed_K] >= gate - 1e-4).all()
    for level in (gate - 0.3, gate - 0.1, gate, gate + 0.1, gate + 0.3, gate + 0.6, gate + 1.0):
        reach, alone_reach = ((s.rank_K >= level).mean() for s in (score, shallow))
        # What 48 windows tell of a tail is good for a factor of two or three.
        assert alone_reach / 3 - 10 / 8000 <= reach <= 3 * alone_reach + 10 / 8000, (level, reach, alone_reach)


def test_reasons_are_in_the_data_s_own_unit(tmp_path: Path) -> None:
    values = 1000.0 + 50.0 * simulate("wave", 0, SLOTS + 40)
    _, bank = fitted_bank([history("wave", values[:SLOTS])], quick_settings(tmp_path))
    values[-10:] += 500.0
    [score] = bank.score([Segment("wave", values[-(bank.context_of("wave") + 39) :])])
    assert score.surprise_K[-5:].min() > 4
    assert np.abs(score.expected_KC[:20, 0] - values[-40:-20, 0]).mean() < 25
    assert (score.low_KC < score.high_KC).all()
    assert 300 < score.deviation_KC[-1, 0] < 700
    assert 0 < score.scale_KC[-1, 0] <= 512
    assert 0 <= score.nearest_KC.min() <= score.nearest_KC.max() < 64


def test_a_constant_that_moves_is_told_in_full(tmp_path: Path) -> None:
    """Windows are clipped at a hundred times the row's scale, and a constant's scale is next to nothing."""
    settings = quick_settings(tmp_path)
    constant = np.zeros((SLOTS, 1), np.float32)
    _, bank = fitted_bank([history("zero", constant), history("wave", simulate("wave", 0, SLOTS))], settings)
    values = np.zeros((bank.context_of("zero") + 63, 1), np.float32)
    values[-32:] = 35.0
    zero, wave = bank.score([Segment("zero", values), Segment("wave", _fresh(bank, "wave", 64))])
    assert zero.deviation_KC[-1, 0] == pytest.approx(35.0, rel=1e-3)
    assert zero.expected_KC[-1, 0] == pytest.approx(0.0, abs=1e-3)
    assert np.abs(zero.deviation_KC[:32]).max() < 1e-3
    assert np.abs(wave.deviation_KC).max() < 2.0


@pytest.mark.slow(1)
def test_the_channel_that_left_is_the_one_that_is_named(tmp_path: Path) -> None:
    _, bank = fitted_bank(_histories(), quick_settings(tmp_path))
    both = np.concatenate([simulate("wave", 7, SLOTS), simulate("white", 8, SLOTS)], 1)[
        -(bank.context_of("two") + 19) :
    ]
    both[-16:, 1] += 12.0
    [score] = bank.score([Segment("two", both)])
    assert score.surprise_K[-1] > 4
    assert score.channel_KC[-1, 1] > score.channel_KC[-1, 0] + 1


def test_what_is_plain_alerts_before_a_shape_is_complete_and_is_told_by_its_look(tmp_path: Path) -> None:
    _, bank = fitted_bank(_histories(), quick_settings(tmp_path))
    values = _fresh(bank, "white", 30)
    values[-2:] += 8.0
    [score] = bank.score([Segment("white", values)])
    assert score.surprise_K[-1] > 4
    assert score.views[score.view_KC[-1, 0]].name != "shape"
    assert score.rank_K[-1] < score.surprise_K[-1]  # where the worst of a stream is, its shapes say


def test_gaps_short_ones_are_bridged_long_ones_are_not_judged(tmp_path: Path) -> None:
    _, bank = fitted_bank(_histories(), quick_settings(tmp_path))
    values = _fresh(bank, "white", 60)
    values[-30:-28] = np.nan
    [score] = bank.score([Segment("white", values)])
    assert np.isfinite(score.surprise_K).all()
    assert score.surprise_K.max() < 4
    values[-200:-5] = np.nan
    [score] = bank.score([Segment("white", values)])
    assert np.isnan(score.surprise_K[-20:-5]).all()
    values[:] = np.nan
    [score] = bank.score([Segment("white", values)])
    assert np.isnan(score.surprise_K).all()


def test_strangers_are_left_to_the_prior(tmp_path: Path) -> None:
    _, bank = fitted_bank(_histories(), quick_settings(tmp_path))
    stranger, wrong, good, empty = bank.score(
        [
            Segment("nobody", np.zeros((bank.context_of("nobody") + 2, 1), np.float32)),
            Segment("two", np.zeros((bank.context, 1), np.float32)),
            Segment("white", _fresh(bank, "white", 3)),
            Segment("white", np.zeros((3, 1), np.float32)),
        ]
    )
    assert stranger.surprise_K.shape == (3,)
    assert (stranger.surprise_K == 0).all()
    assert (stranger.version, stranger.warming) == (None, True)
    assert np.isnan(wrong.surprise_K).all()
    assert np.isfinite(good.surprise_K).all()
    assert (good.warming, wrong.warming) == (False, False)
    [other] = bank.score([Segment("white", _fresh(bank, "white", 3), 3, cold=True)])
    assert other.warming
    assert empty.surprise_K.shape == (0,)
    [few] = bank.score([Segment("white", _fresh(bank, "white", 1)[-100:], 5)])
    assert np.isfinite(few.surprise_K).all()


def _record(trained: Trained, stream: str, uri: str, sha256: str) -> ModelRecord:
    return ModelRecord(stream=stream, promoted=trained.refs(uri, sha256)[stream], announced_at="now")


@pytest.mark.slow(1)
def test_install_swap_and_remove(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, teacher="random")
    trained, memory = fitted_bank(_histories(), settings, with_teacher=True)
    store = ArtefactStore(settings.store_uri(), tmp_path / "cache")
    uri, sha256 = store.write("a.safetensors", trained.data())
    bank = StudentBank(Teachers(settings))
    names = [member.stream for member in trained.header.members]
    assert bank.install([_record(trained, name, uri, sha256) for name in names], store) == {}
    assert len(bank) == 4
    segments = [Segment("wave", _fresh(bank, "wave", 30)), Segment("walk", _fresh(bank, "walk", 30))]
    for stored, kept in zip(bank.score(segments), memory.score(segments), strict=True):
        np.testing.assert_allclose(stored.surprise_K, kept.surprise_K, atol=0.05)  # half precision on disk

    # a student that cannot be loaded costs nobody else theirs, and its stream keeps the old one
    broken = _record(trained, "wave", "gone.safetensors", sha256)
    failed = bank.install([broken, _record(trained, "walk", uri, sha256)], store)
    assert set(failed) == {"wave"}
    assert failed["wave"].retriable  # it may not have come to this store yet
    ref = bank.model_of("wave")
    assert ref is not None
    assert ref.uri == uri
    bank.install([ModelRecord(stream="wave", announced_at="now")], store)
    assert bank.model_of("wave") is None
    assert [score.warming for score in bank.score(segments)] == [True, False]
    assert bank.install([_record(trained, "wave", uri, sha256)], store) == {}
    np.testing.assert_allclose(bank.score(segments)[0].surprise_K, memory.score(segments)[0].surprise_K, atol=0.05)


def test_many_swaps_use_freed_rows_again(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    trained, bank = fitted_bank(_histories(), settings)
    refs = trained.refs("memory", "0" * 64)
    students = [(refs[s.member.stream], s) for s in students_of(trained)]
    [one] = bank._banks
    before = len(one.tables.rows["centre"])
    for _ in range(50):
        bank.put(students)
    assert bank._banks == [one]
    assert len(one.tables.rows["centre"]) == before


def test_without_its_teacher_a_student_is_scored_at_depth_0_and_that_is_said_once(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, teacher="random")
    trained, _ = fitted_bank(_histories(), settings, with_teacher=True)
    refs, students = trained.refs("memory", "0" * 64), students_of(trained)
    elsewhere = replace(students[0].layout, teacher_name=str(tmp_path / "nowhere"))
    older = replace(students[0].layout, teacher_name="")
    other = replace(students[0].layout, seed=99)  # what is there now is another one
    alone = StudentBank()
    alone.put([(refs[s.member.stream], s) for s in students])
    segments = [Segment("wave", _fresh(alone, "wave", 30)), Segment("walk", _fresh(alone, "walk", 30))]
    for layout, reason in ((elsewhere, "nowhere"), (older, "older version"), (other, "another model")):
        bank = StudentBank(Teachers(settings))
        with capture_logs() as said:
            for student in students:
                bank.put([(refs[student.member.stream], replace(student, layout=layout))])
        warnings = [entry for entry in said if entry["log_level"] == "warning"]
        assert len(warnings) == 1
        assert reason in warnings[0]["reason"]
        assert bank.with_teacher() == 0
        for score, shallow in zip(bank.score(segments), alone.score(segments), strict=True):
            _same(score, shallow, 30)
            assert not score.teacher_K.any()


def test_a_teacher_that_is_not_to_be_asked_is_as_none(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, teacher="random")
    trained, bank = fitted_bank(_histories(), settings, with_teacher=True)
    alone = StudentBank()
    alone.put([(trained.refs("memory", "0" * 64)[s.member.stream], s) for s in students_of(trained)])
    values = _fresh(bank, "wave", 30)
    values[-5:] += 30.0  # past any gate
    segment = Segment("wave", values, 30)
    bank.ask_teacher(False)
    [score], [shallow] = bank.score([segment]), alone.score([segment])
    assert not score.teacher_K.any()
    np.testing.assert_array_equal(score.surprise_K, shallow.surprise_K)
    bank.ask_teacher(True)
    assert bank.score([segment])[0].teacher_K.any()


@pytest.mark.slow(2)
def test_students_of_several_layouts_and_teachers_are_scored_as_alone(tmp_path: Path) -> None:
    """As artefacts of before and after a change of the trainer's settings lie side by side, each with its teacher."""
    store = ArtefactStore(str(tmp_path / "models"), tmp_path / "cache")
    said: list[dict[str, Any]] = [
        {"teacher": "random"},
        {"teacher": "random", "teacher_depths": [1]},
        {
            "scales": [4, 32],
            "teacher_scales": [32],
            "teacher": "random",
            "teacher_patch": 4,
            "medoids": 32,
            "shapes": 6,
        },
        {"scales": [16, 128], "teacher_scales": [16], "prototypes": 16},
    ]
    kinds = ("wave", "white", "walk", "heavy")
    together, alone, records = StudentBank(Teachers(quick_settings(tmp_path))), {}, []
    values = {kind: simulate(kind, 0, SLOTS + 1100) for kind in kinds}
    for kind, own in zip(kinds, said, strict=True):
        settings = quick_settings(tmp_path, teacher_budget=0.5, **own)
        trained = train([history(kind, values[kind][:SLOTS])], load_teacher(settings), settings)
        records.append(_record(trained, kind, *store.write(f"{kind}.safetensors", trained.data())))
        alone[kind] = StudentBank(Teachers(quick_settings(tmp_path)))
        assert alone[kind].install(records[-1:], store) == {}
    assert together.install(records, store) == {}
    assert len({layout.teacher for layout in together.layouts()}) == 4  # three teachers, and none
    assert together.with_teacher() == 3
    segments = [Segment(kind, values[kind], 100) for kind in kinds]
    scores = together.score([*segments, Segment("nobody", values["wave"], 100), replace(segments[0], cold=True)])
    for segment, score in zip(segments, scores[:4], strict=True):
        [own_score] = alone[segment.stream].score([segment])
        np.testing.assert_array_equal(score.surprise_K, own_score.surprise_K)
        assert score.views == own_score.views
        assert score.teacher_K.any() == (segment.stream != "heavy")
        assert together.context_of(segment.stream) == alone[segment.stream].context_of(segment.stream)
    assert [score.warming for score in scores] == [False, False, False, False, True, True]

    # one that is fitted anew leaves its old layout, and the last one takes the layout's tables with it
    wave, *_ = records
    settings = quick_settings(tmp_path, **said[3])
    trained = train([history("wave", values["wave"][:SLOTS])], None, settings)
    uri, sha256 = store.write("again.safetensors", trained.data())
    assert together.install([_record(trained, "wave", uri, sha256)], store) == {}
    assert (len(together.layouts()), len(together)) == (3, 4)
    assert wave.promoted is not None
    assert together.model_of("wave") != wave.promoted
    for kind in kinds:
        together.remove(kind)
    assert (together.layouts(), len(together)) == ([], 0)


def test_the_usual_case_is_one_layout_whoever_asks_the_teacher(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, teacher="random")
    with_teacher, _ = fitted_bank([history("wave", simulate("wave", 0, SLOTS))], settings, with_teacher=True)
    without, _ = fitted_bank([history("walk", simulate("walk", 0, SLOTS))], settings)
    bank = StudentBank(Teachers(settings))
    for trained in (without, with_teacher):
        bank.put([(trained.refs("memory", "0" * 64)[s.member.stream], s) for s in students_of(trained)])
    assert [layout.teacher for layout in bank.layouts()] == [with_teacher.header.layout.teacher]
    assert (bank.with_teacher(), len(bank)) == (1, 2)


def test_calls_that_follow_each_other_score_as_one_that_does_not(tmp_path: Path) -> None:
    _, bank = fitted_bank(_histories(), quick_settings(tmp_path))
    assert (bank._banks[0].tables.rows["memory"] >= 0).any()
    names = ("wave", "white", "two")
    values = {k: _histories_more(k)[-(bank.context_of(k) + 59) :] for k in names}
    whole = {k: bank.score([Segment(k, v, 60)])[0].surprise_K for k, v in values.items()}
    at = 0
    # one after another, then a leap back over what was scored already, then on again; two pieces in one call
    for first, count in ((0, 7), (7, 1), (8, 1), (9, 11), (10, 10), (20, 20), (40, 1)):
        cut = [Segment(k, v[: len(v) - 60 + first + count], count, first + count - 1) for k, v in values.items()]
        for name, score in zip(names, bank.score(cut), strict=True):
            expected = whole[name][first : first + count]
            np.testing.assert_allclose(score.surprise_K, expected, atol=1e-3, err_msg=f"{name} {first}+{count}")
        at = first + count
    pieces = [Segment("wave", values["wave"][: len(values["wave"]) - 60 + at + n], n, at + n - 1) for n in (5, 10)]
    for score, n in zip(bank.score(pieces), (5, 10), strict=True):
        np.testing.assert_allclose(score.surprise_K, whole["wave"][at : at + n], atol=1e-3)


def _histories_more(stream: str) -> np.ndarray:
    if stream == "two":
        return np.concatenate([simulate("wave", 7, SLOTS + 60), simulate("white", 8, SLOTS + 60)], 1)
    return simulate(stream, 0, SLOTS + 60)
