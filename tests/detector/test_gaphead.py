"""The gap head: what it looks at, that it looks at nothing else, and what becomes of its answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector import gaphead
from detector.artefact import ArtefactStore
from detector.bank import Segment, StudentBank
from detector.deep import gate_of
from detector.gaphead import About, GapHead, GapHeadError, Seen, Trunk, load, load_gap
from detector.gapview import ASK, TAKEN, corrected
from detector.settings import DetectorSettings
from detector.teacher import load_teacher
from tests.simulation import bank_of, history, quick_settings, simulate
from trainer import gapfit
from trainer import train as training
from trainer.train import Trained, train

SLOTS = 1500


def _head(seed: int = 0, about: About | None = None) -> GapHead:
    about = about or About()
    torch.manual_seed(seed)
    return GapHead(Trunk(about), about)


def _file(folder: Path, seed: int = 0) -> Path:
    path = folder / f"head{seed}.safetensors"
    path.write_bytes(_head(seed).data())
    return path


def _seen(size: int, about: About) -> Seen:
    generator = torch.Generator().manual_seed(1)
    return Seen(
        torch.randn(size, about.form, 16, generator=generator), torch.rand(size, about.said, generator=generator)
    )


@pytest.fixture
def asked_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that has learnt nothing earns nothing: here it is asked all the same."""
    monkeypatch.setattr(training, "GAIN", -99.0)


def _trained(tmp_path: Path, seed: int = 0) -> tuple[Trained, StudentBank]:
    torch.set_num_threads(1)
    settings = quick_settings(tmp_path, gap_head=str(_file(tmp_path, seed)))
    two = np.concatenate([simulate("walk", 7, SLOTS), simulate("white", 8, SLOTS)], 1)
    histories = [history(kind, simulate(kind, 0, SLOTS)) for kind in ("wave", "white")] + [history("two", two)]
    trained = train(histories, None, settings)
    return trained, bank_of(trained, settings)


@pytest.mark.usefixtures("asked_everywhere")
@pytest.mark.parametrize("evidence", [True, False])
def test_a_teacher_beside_it_takes_nothing_of_its_weight(tmp_path: Path, evidence: bool) -> None:
    alone, _ = _trained(tmp_path)
    settings = quick_settings(
        tmp_path, gap_head=str(_file(tmp_path)), teacher="random", teacher_evidence=evidence, teacher_budget=0.3
    )
    both = train([history("wave", simulate("wave", 0, SLOTS))], load_teacher(settings), settings)
    [start] = [member.start for member in alone.header.members if member.stream == "wave"]
    assert float(both.rows["gap.weight"]) == float(alone.rows["gap.weight"][start]) == 1.0
    # one stack or two: sums differ by rounding, weights taken away would not
    np.testing.assert_allclose(both.rows["gap.cal"][0], alone.rows["gap.cal"][start], atol=1e-4)


def test_form_has_window_residual_and_residuals_in_units_of_the_prototypes() -> None:
    proto_RPT = torch.stack([torch.zeros(16), torch.ones(16), 3 * torch.ones(16), 9 * torch.ones(16)])[None]
    window_RMT = torch.full((1, 2, 16), 1.2)
    form = gaphead.form(window_RMT, None, proto_RPT, torch.tensor([[0.5, 0.4, 2.0, 1.0]]))
    assert form.shape == (1, 2, gaphead.FORM, 16)
    unit = form.sinh()[0, 0, :, 0]
    # the window; to the nearest (1); the same in units of .4; to the second (0) in units of .5; to the third (3) of 2
    np.testing.assert_allclose(unit, [1.2, 0.2, 0.5, 2.4, -0.9], rtol=1e-4)


def test_a_missing_point_counts_for_nothing() -> None:
    proto_RPT = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    window = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(1))
    there = torch.ones(1, 1, 16, dtype=torch.bool)
    there[..., 3:6] = False
    other = window.clone()
    other[..., 3:6] = 50.0
    radius = torch.ones(1, 5)
    one, two = (gaphead.form(w, there, proto_RPT, radius) for w in (window, other))
    assert torch.equal(one, two)
    assert (one[..., 3:6] == 0).all()
    assert not torch.equal(gaphead.form(window, None, proto_RPT, radius), one)


def test_fewer_prototypes_than_are_looked_at() -> None:
    form = gaphead.form(torch.randn(2, 3, 16), None, torch.randn(2, 2, 16), torch.ones(2, 2))
    assert form.shape == (2, 3, gaphead.FORM, 16)
    assert torch.equal(form[:, :, -1], form[:, :, -2])  # the last one stands twice


def test_what_is_absent_is_said_as_nothing() -> None:
    view_BV = torch.tensor([[1.5, torch.nan, 99.0]])
    row_B, plain_B, shape_B, backed_B, blend_B = (torch.tensor([x]) for x in (3.0, 1.5, torch.nan, 6.0, 0.5))
    told = gaphead.said(view_BV, row_B, plain_B, shape_B, backed_B, blend_B)
    np.testing.assert_allclose(told, [[0.5, 0.0, 4.0, 1.0, 0.5, 0.0, 2.0, 0.5]])
    assert float(told[0, gaphead.ROW]) * gaphead.SAID_UNIT == 3.0


def test_the_gap_of_a_window_does_not_depend_on_its_neighbours() -> None:
    about = About()
    head, seen = _head(), _seen(5000, about)
    whole = head.gap(seen)
    assert whole.shape == (5000,)
    assert float(whole.std()) > 1e-3
    for at in (0, 2047, 2048, 4999):
        alone = head.gap(seen.at(torch.tensor([at])))
        np.testing.assert_allclose(alone, whole[at : at + 1], atol=1e-5)
    assert len(head.gap(seen.at(torch.zeros(0, dtype=torch.long)))) == 0


def test_a_teacher_is_heard_where_it_looked_and_only_there() -> None:
    about = About(deep=16)
    head, seen = _head(about=about), _seen(8, about)
    deep = seen._replace(deep_NUJ=torch.randn(8, 16, 7, generator=torch.Generator().manual_seed(2)))
    silent = head.gap(seen)
    zero = head.gap(seen._replace(deep_NUJ=torch.zeros(8, 16, 7)))
    assert not torch.allclose(silent, zero)  # "nothing left" is not "nobody looked"
    assert not torch.allclose(zero, head.gap(deep))
    plain = _head()
    assert torch.equal(plain.gap(seen), plain.gap(deep))


def test_windows_are_joined_whoever_has_tokens() -> None:
    about = About(deep=4)
    plain, deep = _seen(3, about), _seen(2, about)._replace(deep_NUJ=torch.zeros(2, 4, 7))
    for parts, there in (([plain, deep], [0, 0, 0, 1, 1]), ([deep.at(torch.arange(0)), plain], [0, 0, 0])):
        joined = Seen.joined(parts)
        assert joined.deep_NUJ is not None
        assert torch.isfinite(joined.deep_NUJ).all((1, 2)).int().tolist() == there


def test_windows_that_the_teacher_left_out_are_as_if_there_was_none() -> None:
    about = About(deep=16)
    head, seen = _head(about=about), _seen(8, about)
    deep_NUJ = torch.randn(8, 16, 7, generator=torch.Generator().manual_seed(2))
    deep_NUJ[::2] = torch.nan
    some, none = head.gap(seen._replace(deep_NUJ=deep_NUJ)), head.gap(seen)
    assert torch.equal(some[::2], none[::2])
    assert (some[1::2] != none[1::2]).all()
    joined = Seen.joined([seen, seen._replace(deep_NUJ=deep_NUJ)])
    assert torch.equal(head.gap(joined), torch.cat([none, some]))
    assert Seen.joined([seen, seen]).deep_NUJ is None


def test_tokens_become_channels_by_dimension() -> None:
    residual_NDO = torch.arange(2 * 3 * 8.0).reshape(1, 2, 24)
    channel_NUJ = gaphead.deep_channels(residual_NDO).sinh()
    assert channel_NUJ.shape == (1, 16, 3)
    np.testing.assert_allclose(channel_NUJ[0, 9], [25.0, 33.0, 41.0], rtol=1e-4)  # depth 1, dimension 1 of each token


def test_a_file_gives_the_same_head_back(tmp_path: Path) -> None:
    about = About(deep=16, lineage={"seed": "3"})
    head = _head(about=about)
    path = tmp_path / "head.safetensors"
    path.write_bytes(head.data())
    again = load(path)
    assert again.identity == head.identity
    assert again.about == about
    assert torch.equal(again.gap(_seen(9, about)), head.gap(_seen(9, about)))
    assert _head(1).identity != _head(0).identity


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _another_format(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'\\"format\\":1', b'\\"format\\":9'))


@pytest.mark.parametrize("spoil", [_damage, _another_format, Path.unlink])
def test_a_head_that_cannot_be_used_says_what_to_do(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = _file(tmp_path)
    spoil(path)
    with pytest.raises(GapHeadError, match=r"trainer\.gap|--gap-head"):
        load_gap(DetectorSettings(gap_head=str(path)))


def test_a_head_needs_the_scales_it_looks_at(tmp_path: Path) -> None:
    with pytest.raises(GapHeadError, match=r"\[64\] slots"):
        load_gap(DetectorSettings(gap_head=str(_file(tmp_path)), scales=[8, 16], teacher_scales=[16]))


def test_a_correction_moves_no_surprise_by_more_than_its_reach() -> None:
    logit = torch.tensor([-99.0, -0.1, 0.0, 0.1, 99.0])
    np.testing.assert_allclose(gaphead.correction(logit), [-gaphead.REACH, -0.1, 0.0, 0.1, gaphead.REACH], atol=1e-3)


def test_rows_without_shapes_are_only_lifted_and_shapes_pay_a_decade() -> None:
    row, logit = torch.tensor([3.0, 3.0, 3.0, 3.0]), torch.tensor([-9.0, 9.0, -9.0, 9.0])
    found = corrected(row, logit, torch.tensor([0.0, 0.0, 1.0, 0.5]))
    np.testing.assert_allclose(found, [3.0, 5.0, 0.0, 5.0 - TAKEN / 2], atol=1e-3)


@pytest.mark.usefixtures("asked_everywhere")
def test_scores_look_at_nothing_later_and_do_not_depend_on_the_cut(tmp_path: Path) -> None:
    trained, bank = _trained(tmp_path)
    assert (trained.rows["gap.weight"] > 0).any()
    values = {kind: simulate(kind, 0, SLOTS + 200) for kind in ("wave", "white")}
    whole = bank.score([Segment(kind, v, 200) for kind, v in values.items()])
    for kind, score in zip(values, whole, strict=True):
        parts = []
        for stop in range(SLOTS + 40, SLOTS + 201, 40):
            later = values[kind].copy()
            later[stop:] = 1e3
            parts.append(bank.score([Segment(kind, later[:stop], 40)])[0])
        for name in ("rank_K", "surprise_K"):
            merged = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_allclose(merged, getattr(score, name), atol=1e-4)


@pytest.mark.usefixtures("asked_everywhere")
def test_the_head_changes_what_is_past_the_gate_and_nothing_else(tmp_path: Path) -> None:
    _, bank = _trained(tmp_path)
    [window] = bank.look([Segment("white", simulate("white", 0, SLOTS + 400), 400)])
    assert window.seen.form_NCT.shape == (1, 400, 2 * gaphead.FORM, 16)
    asked = window.asked_CK
    assert torch.equal(asked, window.before_CK >= ASK)
    assert 0.02 < float(asked.float().mean()) < 0.5
    assert torch.equal(window.after_CK[~asked], window.before_CK[~asked])
    assert (window.after_CK[asked] != window.before_CK[asked]).all()


@pytest.mark.usefixtures("asked_everywhere")
def test_a_say_in_alerts_leaves_ranks_alone(tmp_path: Path) -> None:
    trained, bank = _trained(tmp_path)
    without = bank_of(trained, quick_settings(tmp_path))
    segments = [Segment(kind, simulate(kind, 0, SLOTS + 300), 300) for kind in ("wave", "white")]
    changed = []
    for mine, plain in zip(bank.score(segments), without.score(segments), strict=True):
        np.testing.assert_array_equal(mine.rank_K, plain.rank_K)
        changed.append(bool((mine.surprise_K != plain.surprise_K).any()))
        assert "gap" in {view.name for view in mine.views}
    assert any(changed)


@pytest.mark.usefixtures("asked_everywhere")
def test_tokens_of_its_teacher_reach_the_head_where_the_teacher_looked(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    asking = quick_settings(tmp_path, teacher="random", teacher_evidence=False, teacher_budget=0.3)
    teacher = load_teacher(asking)
    assert teacher is not None
    about = About(deep=8 * len(teacher.depths), teacher=teacher.identity, teacher_scales=tuple(asking.teacher_scales))
    head = _head(about=about)
    path = tmp_path / "deep.safetensors"
    path.write_bytes(head.data())
    settings = asking.model_copy(update={"gap_head": str(path)})
    trained = train([history("white", simulate("white", 0, SLOTS))], teacher, settings)
    assert float(trained.rows["gap.weight"]) == 1.0
    segment = Segment("white", simulate("white", 0, SLOTS + 400), 400)
    bank, deaf = (bank_of(trained, settings, teacher) for _ in range(2))
    deaf.head = GapHead(head._trunk, replace(about, teacher="another"))
    [score], [silent] = bank.score([segment]), deaf.score([segment])
    assert 20 < score.teacher_K.sum() < 300
    np.testing.assert_array_equal(score.teacher_K, silent.teacher_K)
    np.testing.assert_array_equal(score.rank_K, silent.rank_K)
    np.testing.assert_array_equal(score.surprise_K[~score.teacher_K], silent.surprise_K[~score.teacher_K])
    assert (score.surprise_K[score.teacher_K] != silent.surprise_K[score.teacher_K]).any()
    [window], [blind] = bank.look([segment]), deaf.look([segment])
    assert window.seen.deep_NUJ is not None
    assert blind.seen.deep_NUJ is None
    np.testing.assert_array_equal(torch.isfinite(window.seen.deep_NUJ).all((0, 2, 3)), score.teacher_K)


@pytest.mark.usefixtures("asked_everywhere")
@pytest.mark.parametrize("scale", [16, 256])
def test_held_back_windows_are_judged_with_the_tokens_of_rows_that_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: int
) -> None:
    torch.set_num_threads(1)
    own = {"teacher": "random", "teacher_evidence": False, "teacher_budget": 0.3, "scales": [8, 16, 64, 256]}
    asking = quick_settings(tmp_path, teacher_scales=[scale], **own)
    teacher = load_teacher(asking)
    assert teacher is not None
    about = About(deep=8 * len(teacher.depths), teacher=teacher.identity, teacher_scales=tuple(asking.teacher_scales))
    path = tmp_path / "deep.safetensors"
    path.write_bytes(_head(about=about).data())
    asked: list[Seen] = []
    gap = GapHead.gap

    def told(head: GapHead, seen: Seen) -> torch.Tensor:
        asked.append(seen)
        return gap(head, seen)

    monkeypatch.setattr(GapHead, "gap", told)
    held_back: list[torch.Tensor] = []
    left = gapfit._left

    def noted(*a: Any) -> torch.Tensor | None:
        out, (_, layout, _, held, ends) = left(*a), a
        view_RM = held.view_RLV[..., layout.view_of(scale)].gather(1, ends.end_RM)
        if out is not None:
            held_back.append(view_RM.flatten()[torch.isfinite(out).all((1, 2))])
        return out

    monkeypatch.setattr(gapfit, "_left", noted)
    train(
        [history("white", simulate("white", 0, SLOTS)), history("short", simulate("white", 1, 200))],
        teacher,
        asking.model_copy(update={"gap_head": str(path)}),
    )
    assert sum(map(len, held_back)) > 0
    assert all(torch.isfinite(view_N).all() for view_N in held_back)  # nothing of the other half
    held = next(seen for seen in asked if len(seen.said_NV))  # of the fit
    assert held.deep_NUJ is not None
    looked_N = torch.isfinite(held.deep_NUJ).all((1, 2))
    row_N = held.said_NV[:, gaphead.ROW] * gaphead.SAID_UNIT
    gate = gate_of(0.3)
    assert bool(looked_N[row_N >= gate + 1e-4].float().mean() > 0.8)
    assert not looked_N[row_N < gate - 1e-4].any()
    # each output in units of what the student leaves of it: about 1
    assert 0.5 < float(held.deep_NUJ[looked_N].float().sinh().square().mean().sqrt()) < 2.5


def test_streams_without_a_student_need_no_head(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, gap_head=str(_file(tmp_path)))
    bank = StudentBank(None, settings)
    values = simulate("white", 0, 300)
    [alone] = bank.score([Segment("new", values, 9)])
    [same] = StudentBank(None, quick_settings(tmp_path)).score([Segment("new", values, 9)])
    np.testing.assert_array_equal(alone.surprise_K, same.surprise_K)
    assert np.isfinite(alone.surprise_K).all()
    assert bank.score([]) == []


@pytest.mark.usefixtures("asked_everywhere")
def test_a_student_fitted_with_another_head_is_scored_without(tmp_path: Path) -> None:
    trained, _ = _trained(tmp_path)
    values = simulate("white", 0, SLOTS + 100)

    def scored(gap_head: str) -> np.ndarray:
        bank = bank_of(trained, quick_settings(tmp_path, gap_head=gap_head))
        return bank.score([Segment("white", values, 100)])[0].surprise_K

    without = scored("none")
    np.testing.assert_array_equal(scored(str(_file(tmp_path, 1))), without)
    assert not np.allclose(scored(str(_file(tmp_path, 0))), without)


@pytest.mark.usefixtures("asked_everywhere")
def test_its_student_survives_the_store(tmp_path: Path) -> None:
    trained, bank = _trained(tmp_path)
    store = ArtefactStore(str(tmp_path / "store"), tmp_path / "cache")
    uri, sha256 = store.write("students.safetensors", trained.data())
    refs = trained.refs(uri, sha256)
    again = StudentBank(None, bank.settings)
    again.put([(ref, store.read(uri, sha256, [ref.row])[0]) for ref in refs.values()])
    assert store.header(uri, sha256).layout.gap == bank.layout.gap != ""
    values = simulate("white", 0, SLOTS + 100)
    one, two = (b.score([Segment("white", values, 100)])[0].surprise_K for b in (bank, again))
    np.testing.assert_allclose(one, two, atol=0.05)  # prototypes are stored in half precision


def test_the_packaged_head_is_there_and_small() -> None:
    head = load_gap(DetectorSettings(gap_head="packaged"))
    assert head is not None
    assert gaphead.PACKAGED.stat().st_size < 8 * 2**20
    assert head.about.lineage["left_out"] == ""
    assert "generated" in head.about.lineage["families"]


@pytest.mark.parametrize("missing", [0, 30])
def test_a_head_that_adds_nothing_is_not_asked(tmp_path: Path, missing: int) -> None:
    torch.set_num_threads(1)
    silent = Trunk(About())
    with torch.no_grad():
        for weight in (*silent.out.parameters(), *silent.direct.parameters()):
            weight.zero_()
    path = tmp_path / "silent.safetensors"
    path.write_bytes(GapHead(silent, About()).data())
    values = simulate("wave", 0, 3000)
    values[np.arange(3000) % 150 < missing] = np.nan  # windows that it cannot judge: nothing is lifted there
    trained = train([history("wave", values)], None, quick_settings(tmp_path, gap_head=str(path)))
    assert (trained.rows["gap.weight"] == 0).all()
