"""Learning of the gap head: examples, folds, and that it learns what it is shown."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from detector.deep import gate_of
from detector.gaphead import PACKAGED, ROW, SAID_UNIT, About, Seen, load
from detector.teacher import load_teacher
from tests.simulation import quick_settings, simulate
from trainer.anomalies import KINDS
from trainer.backtest.series import SourceError
from trainer.gap import __main__ as making
from trainer.gap.examples import Examples, examples_of
from trainer.gap.families import GENERATED, KIN, Row, folds, rows_of
from trainer.gap.keep import read, write
from trainer.gap.learn import ANOMALIES, LOUDEST, NORMAL, drawing, judged, learn, loss_of
from trainer.gap.signals import generate


def _planted(families: tuple[str, ...], size: int = 400) -> Examples:
    """Anomalies are windows whose residual has a bump in its middle; what the views say tells nothing."""
    generator = torch.Generator().manual_seed(0)
    many = size * len(families)
    about = About()
    form = 0.5 * torch.randn(many, about.form, 16, generator=generator)
    said = torch.rand(many, about.said, generator=generator)
    said[:, ROW] = 0.5
    label = (torch.arange(many) % 2).float()
    form[:, 1, 6:10] += 1.5 * label[:, None]
    row = torch.arange(len(families)).repeat_interleave(size)
    kind = torch.where(label > 0, 0, -1)
    return Examples(Seen(form.half(), said.half()), label, kind, row, [(family, "r") for family in families])


def test_a_planted_anomaly_is_told_apart_in_a_family_never_seen() -> None:
    torch.set_num_threads(1)
    examples = _planted(("a", "b", "c"))
    head = learn(examples, ("c",), About(), seed=1, steps=60)
    [(mine, bank)] = judged(head, examples, ("c",)).values()
    assert mine > 0.9
    assert bank < 0.2
    assert head.about.lineage["left_out"] == "c"


def test_a_teacher_is_learnt_from_and_its_absence_as_well() -> None:
    torch.set_num_threads(1)
    examples = _planted(("a", "b", "c"))
    examples.seen.form_NCT[:] = 0.0  # only the teacher's tokens tell
    deep_NUJ = 0.5 * torch.randn(len(examples.label_N), 4, 3, generator=torch.Generator().manual_seed(1))
    deep_NUJ[:, 2] += 1.5 * examples.label_N[:, None]
    deep = replace(examples, seen=examples.seen._replace(deep_NUJ=deep_NUJ.half()), about=About(deep=4))
    head = learn(deep, ("c",), deep.about, seed=1, steps=60)
    [(mine, bank)] = judged(head, deep, ("c",)).values()
    assert mine > 0.9
    assert bank < 0.2
    [(alone, _)] = judged(head, examples, ("c",)).values()
    assert alone < 0.3  # without tokens there is nothing to see here


def test_learning_is_deterministic_and_blind_to_what_is_left_out() -> None:
    torch.set_num_threads(1)
    examples = _planted(("a", "b"), 200)
    one, two = (learn(examples, ("b",), About(), seed=1, steps=3) for _ in range(2))
    assert one.identity == two.identity
    examples.seen.form_NCT[200:] = 9.0
    assert learn(examples, ("b",), About(), seed=1, steps=3).identity == one.identity
    assert learn(examples, ("b",), About(), seed=2, steps=3).identity != one.identity


def test_families_are_drawn_alike_and_never_what_is_left_out() -> None:
    examples = _planted(("a", "b", "b", "b", "out"), 100)
    draw = drawing(examples, ("out",), seed=1)
    index = torch.stack([draw() for _ in range(20)]).flatten(0, 1)
    assert index.shape[1] == ANOMALIES + NORMAL
    assert (examples.label_N[index[:, :ANOMALIES]] == 1).all()
    assert (examples.label_N[index[:, ANOMALIES:]] == 0).all()
    families, many = np.unique(examples.family_N()[index[:, 0].numpy()], return_counts=True)
    assert families.tolist() == ["a", "b"]
    assert many.min() / many.max() > 0.7
    rows = examples.row_N[index]
    assert (rows == rows[:, :1]).all()  # an anomaly is held against its own row


def test_only_windows_past_the_gate_are_learnt_from() -> None:
    examples = _planted(("a",), 200)
    quiet = torch.arange(200) % 4 < 2
    examples.seen.said_NV[quiet, ROW] = 0.1
    index = drawing(examples, (), seed=1)()
    assert not quiet[index].any()


def test_the_loss_asks_for_what_is_above_the_loudest_normal_windows() -> None:
    score = torch.zeros(1, ANOMALIES + NORMAL)
    score[:, ANOMALIES : ANOMALIES + LOUDEST] = 3.0  # a third of the normal ones are loud
    below = float(loss_of(score))
    score[:, :ANOMALIES] = 2.5
    beside = float(loss_of(score))
    score[:, :ANOMALIES] = 6.0
    above = float(loss_of(score))
    assert below > 1.0 > beside > above
    assert above < 0.02


def test_folds_are_disjoint_and_leave_out_every_family_once() -> None:
    families = [*sorted({family for kin in KIN for family in kin} - {"gecco"}), GENERATED, "new/one", "new/two"]
    made = folds(families)
    left_out = [family for fold in made for family in fold]
    assert sorted(left_out) == sorted(set(families) - {GENERATED})
    assert ("new/one",) in made
    assert ("new/two",) in made


def test_every_family_is_judged_by_a_head_that_has_not_seen_it(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    families = ("ucr/ECG", "ucr/ABP", "wsd", GENERATED)
    making.cross_validate(_planted(families, 40), tmp_path, seed=1, steps=2)
    table = orjson.loads((tmp_path / making.FOLDS).read_bytes())
    assert set(table) == {"ucr/ECG", "ucr/ABP", "wsd"}
    for family, file in table.items():
        left_out = load(tmp_path / file).about.lineage["left_out"].split(",")
        assert family in left_out
    assert table["ucr/ECG"] == table["ucr/ABP"] != table["wsd"]  # hearts are left out together


def test_examples_are_held_back_windows_with_and_without_anomalies(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = [
        Row("one", "wave", simulate("wave", 1, 1200)[:, 0], True),
        Row("two", "white", simulate("white", 2, 900)[:, 0], False),
    ]
    settings = quick_settings(tmp_path, teacher="random", teacher_budget=0.05)
    teacher = load_teacher(settings)
    examples = examples_of(rows, settings, teacher, seed=3)
    assert set(np.unique(examples.family_N())) == {"one", "two"}
    assert set(examples.kind_N.tolist()) == {-1, *range(len(KINDS))}
    assert torch.equal(examples.label_N > 0, examples.kind_N >= 0)
    assert examples.seen.form_NCT.shape[1:] == (About().form, 16)
    assert examples.seen.said_NV.shape[1] == About().said
    deep_NUJ = examples.seen.deep_NUJ
    assert teacher is not None
    assert deep_NUJ is not None
    assert examples.about.teacher == teacher.identity
    assert deep_NUJ.shape[1] == examples.about.deep
    row_N = examples.seen.said_NV[:, ROW].float() * SAID_UNIT
    looked_N = torch.isfinite(deep_NUJ).all((1, 2))
    # the teacher looks at what is past its gate, and at nothing else
    assert not looked_N[row_N < gate_of(0.05) - 0.01].any()
    assert float(looked_N[row_N > gate_of(0.05) + 0.01].float().mean()) > 0.8
    blend_N = examples.seen.said_NV[:, -1]
    white = torch.from_numpy(examples.family_N() == "two")
    assert (blend_N[white] == 0).all()
    assert (blend_N[~white] > 0).all()
    # what is put in is farther from the prototypes than what is normal
    residual_N = examples.seen.form_NCT[:, 1].float().square().mean(-1)
    assert residual_N[examples.label_N > 0].mean() > residual_N[examples.label_N == 0].mean()
    write(tmp_path / "kept", examples)
    again = read(tmp_path / "kept")
    assert torch.equal(again.seen.form_NCT, examples.seen.form_NCT)
    assert again.rows == examples.rows
    assert again.about == examples.about
    assert again.seen.deep_NUJ is not None
    assert torch.equal(again.seen.deep_NUJ.nan_to_num(nan=99.0), deep_NUJ.nan_to_num(nan=99.0))
    assert torch.equal(again.row_N, examples.row_N)


def test_a_head_of_all_families_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    write(tmp_path / making.EXAMPLES, _planted(("a", "b"), 40))
    packaged = PACKAGED.read_bytes()
    monkeypatch.setattr(making, "learn", partial(learn, steps=2))
    monkeypatch.setattr(making, "configure_logs", lambda level: None)
    monkeypatch.setattr(sys, "argv", ["gap", "--out", str(tmp_path), "--ship", str(tmp_path / "mine.safetensors")])
    making.main()
    lineage = load(tmp_path / "mine.safetensors").about.lineage
    assert (lineage["families"], lineage["left_out"]) == ("a,b", "")
    assert PACKAGED.read_bytes() == packaged
    (tmp_path / making.MADE_OF).write_text('{"data": "elsewhere"}')
    with pytest.raises(SystemExit):  # or one's own data would be ignored without a word
        making.main()


def test_only_training_parts_are_learnt_from(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4000, 2)).astype(np.float32)
    values[2500:] = 77.0
    np.savez(folder / "a.npz", values=values, labels=np.zeros(4000, np.uint8), train_end=2500)
    index = {"series": [{"name": "a", "file": "a.npz", "length": 4000, "domain": "Somewhere"}]}
    (folder / "index.json").write_bytes(orjson.dumps(index))
    with pytest.raises(SourceError, match=r"neither an index.json nor folders with one"):
        rows_of(folder / "elsewhere", 1)
    assert {row.family for row in rows_of(folder, 1)} == {"set/Somewhere", GENERATED}
    mine = [row for row in rows_of(tmp_path, 1) if row.family != GENERATED]
    assert {row.family for row in mine} == {"set/Somewhere"}
    assert len(mine) == 4  # two channels, two spans of so few series
    assert all(len(row.values_L) <= 2500 and not (row.values_L == 77.0).any() for row in mine)


def test_generated_signals_are_of_all_kinds_and_deterministic() -> None:
    one, two = generate(10, 600, 4), generate(10, 600, 4)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == (600,)
        assert np.isfinite(a).all()
        assert a.std() > 0
    assert not np.array_equal(one[0], one[5])
