"""The prototype update: cheap, learns what is new and normal, leaves the ridge map alone."""

from pathlib import Path

import numpy as np
import pytest

from detector.model.interface import Segment
from testkit.simulation import bank_of, history, quick_settings, simulate, students_of
from trainer.fit.agreed import load_teacher
from trainer.fit.run import train
from trainer.fit.update import LayoutChangedError, check, fresh_history, update

SLOTS, NEW = 2048, 1024


@pytest.mark.parametrize("with_teacher", [False, True])
def test_new_normal_is_learnt_without_a_new_map(tmp_path: Path, with_teacher: bool) -> None:
    settings = quick_settings(tmp_path, teacher="random" if with_teacher else "none")
    teacher = load_teacher(settings)
    runs = 4
    series = {kind: simulate(kind, 0, SLOTS + runs * NEW + 1000) for kind in ("wave", "white")}
    series["wave"][SLOTS:, 0] *= 1.06  # a new normal, near the old one
    first = last = train([history(k, v[:SLOTS]) for k, v in series.items()], teacher, settings)
    for run in range(1, runs + 1):
        students = {s.member.stream: s for s in students_of(last)}
        seen = SLOTS + run * NEW
        fresh = [fresh_history(students[k], history(k, v[:seen])) for k, v in series.items()]
        parent, last = last.header.version, update(students, fresh, teacher, settings)
        assert last.header.lineage["job"] == "prototypes"
        assert last.header.lineage["parents"] == parent
        for member in last.header.members:
            assert member.trained_slots == (0, seen - 1)
            assert member.points == seen
    wave = {run: next(m.start for m in t.header.members if m.stream == "wave") for run, t in ((0, first), (1, last))}
    assert (last.rows["proto.16"][wave[1]] != first.rows["proto.16"][wave[0]]).any()
    if with_teacher:
        assert (last.rows["ridge.64"][wave[1]] == first.rows["ridge.64"][wave[0]]).all()
    means = {}
    for name, trained in (("old", first), ("new", last)):
        bank = bank_of(trained, settings, teacher)
        segments = [Segment(k, v[-(1000 + bank.context_of(k) - 1) :], 1000) for k, v in series.items()]
        for kind, score in zip(series, bank.score(segments), strict=True):
            means[name, kind] = float(np.nanmean(score.surprise_K))
            assert (score.surprise_K >= 4).mean() < 0.01
    assert means["new", "wave"] < means["old", "wave"]
    assert abs(means["new", "white"] - means["old", "white"]) < 0.2


def test_surprising_windows_are_not_learnt(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    values = simulate("white", 0, SLOTS + NEW)
    fitted = train([history("white", values[:SLOTS])], None, settings)
    values[-600:-400] += 15.0
    [student] = students_of(fitted)
    updated = update({"white": student}, [fresh_history(student, history("white", values))], None, settings)
    assert updated.rows["proto.16"].abs().max() < 5
    bank = bank_of(updated, settings)
    [score] = bank.score([Segment("white", values[-(700 + bank.context_of("white") - 1) :], 700)])
    assert score.surprise_K[120:300].min() > 4


def test_other_settings_or_channels_need_a_full_fit(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    one = history("white", simulate("white", 0, 600))
    [student] = students_of(train([one], None, settings))
    check(student, None, settings, one)
    with pytest.raises(LayoutChangedError, match="settings"):
        check(student, None, quick_settings(tmp_path, prototypes=16), one)
    with pytest.raises(LayoutChangedError, match="channels"):
        check(student, None, settings, history("white", np.zeros((600, 2), np.float32)))
