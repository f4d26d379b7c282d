"""The teacher earns its weight: by anomalies that depth 0 lets through and no others, and it costs nothing elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.model import calibration
from detector.model.interface import Segment
from detector.model.layout import Layout
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.shallow import prepare
from detector.model.teacher import Teacher
from detector.model.views.teacher import joined
from testkit.simulation import bank_of, history, quick_settings, simulate, students_of
from trainer.fit.agreed import layout_of, load_teacher
from trainer.fit.evidence import LEAST, Evidence, Normal, mixtures, weigh, weights
from trainer.fit.probes import ANOMALIES, PROBES, Probes, injected, probe, slots
from trainer.fit.run import Trained, train
from trainer.fit.update import check, fresh_history, update
from trainer.settings import TrainerSettings

LAYOUT = Layout((8, 16, 64), 32, 12, 64, "t", (1, 2), (64,), 56)


def _evidence(alone: list[bool], *mixed: list[bool]) -> Evidence:
    return Evidence(torch.tensor([alone]), torch.tensor([mixed]))


def test_a_mixture_must_win_more_than_it_loses() -> None:
    alone = [True] * 4 + [False] * 6
    more, swapped = [True] * (4 + LEAST) + [False] * (6 - LEAST), [False] * 4 + [True] * 4 + [False] * 2
    assert weights(_evidence(alone, alone, alone, alone), LAYOUT).tolist() == [[0.0, 0.0]]
    assert weights(_evidence(alone, alone, swapped, alone), LAYOUT).tolist() == [[0.0, 0.0]]
    assert weights(_evidence(alone, swapped, more, alone), LAYOUT).tolist() == [[0.0, 1.0]]
    assert weights(_evidence(alone, alone, swapped, more), LAYOUT).tolist() == [[0.5, 0.5]]


def test_one_view_has_one_mixture_and_views_without_weight_are_not_heard() -> None:
    assert mixtures(Layout((64,), 32, 12, 64, "t", (1,), (64,), 56), torch.device("cpu")).tolist() == [[1.0]]
    published = joined(
        torch.tensor([2.0, 2.0]), torch.tensor([[4.0, torch.nan]] * 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    )
    assert published.tolist() == [3.0, 2.0]


def _fitted(settings: TrainerSettings, kinds: tuple[str, ...]) -> tuple[Trained, dict[str, np.ndarray]]:
    values = {kind: simulate(kind, 0, 2048) for kind in kinds}
    return train([history(k, v) for k, v in values.items()], None, settings), values


@pytest.mark.slow(2)
@pytest.mark.parametrize(("shape_share", "scales"), [(1.0, [8, 16, 64]), (0.0, [8, 16, 64]), (0.0, [8, 64, 256])])
def test_probes_are_judged_as_the_detector_judges(tmp_path: Path, shape_share: float, scales: list[int]) -> None:
    settings = quick_settings(tmp_path, shape_share=shape_share, scales=scales)
    trained, values = _fitted(settings, ("wave", "heavy", "bursty"))
    bank = bank_of(trained, settings)
    names = [member.stream for member in trained.header.members]
    assert len(trained.memories) == 3 * shape_share
    rows: Rows = {name: value.clone() for name, value in trained.rows.items()}
    x_RL = prepare(torch.tensor(np.stack([values[name][:, 0] for name in names])), rows)
    found = probe(x_RL, rows, trained.memories, layout_of(settings, None))
    assert found.surprise_RAX.shape == (3, ANOMALIES, PROBES)
    made = injected(x_RL)
    end_RAX = slots(made, rows["lag"], x_RL.shape[1])
    for r, name in enumerate(names):
        shallow = []
        for a in range(0, ANOMALIES, 3):
            changed_L = x_RL[r].clone()
            onset, length = int(made.onset_RA[r, a]), int(made.length_RA[r, a])
            changed_L[onset : onset + length] = made.changed_RAJ[r, a, :length]
            raw_L = (changed_L * rows["scale"][r] + rows["centre"][r]).numpy().astype(np.float32)
            segments = [Segment(name, raw_L[: int(end) + 1, None], 1) for end in end_RAX[r, a]]
            shallow.append([float(score.rank_K[0]) for score in bank.score(segments)])
        np.testing.assert_allclose(found.surprise_RAX[r, ::3].numpy(), shallow, atol=0.02, err_msg=name)


class _Loud(Teacher):
    """Says ten times the mean of a window."""

    def __init__(self) -> None:
        self.depths, self.outputs, self.identity = (1,), 4, "loud"
        self.device = torch.device("cpu")

    def tokens(self, window_NT: Tensor) -> Tensor:
        return (10.0 * window_NT.mean(1))[:, None, None].expand(-1, 1, self.outputs)


def test_every_anomaly_is_judged_by_what_the_teacher_says_of_its_own_windows() -> None:
    layout = Layout((64,), 2, 12, 64, "loud", (1,), (64,), 4)
    quiet = torch.rand(1, 1, 200, generator=torch.Generator().manual_seed(0))
    rows: Rows = {
        "proto.64": torch.zeros(1, 2, 16),
        "tokens.64": torch.zeros(1, 2, 1, 4),
        "ridge.64": torch.zeros(1, 1, 33, 4),
        "spread.64": torch.ones(1, 1, 4),
        "teacher_cal.64": calibration.fit(quiet, quiet >= 0, 0.05),
    }
    normal = Normal(torch.full((1, 3), 3.0), torch.zeros(1, 3, 1), torch.ones(1, 3, dtype=torch.bool))
    window_RAXT = torch.zeros(1, 2, 2, 16)
    window_RAXT[:, 1] = 1.0  # the second anomaly is loud, the first is not
    probes = Probes(torch.full((1, 2, 2), 2.0), [window_RAXT], torch.zeros(1, 2, 2, 1, dtype=torch.long))
    found = weigh(_Loud(), layout, rows, normal, probes, gate=1.0)
    assert found.alone_RA.tolist() == [[False, False]]
    assert found.mixed_RMA.tolist() == [[[False, True]]]
    nowhere = weigh(_Loud(), layout, rows, normal, probes, gate=3.0)
    assert not nowhere.mixed_RMA.any()  # no window passes the gate: nobody is asked


class _Knowing(Teacher):
    """Says 0 of the windows that normal life has brought, and something else of all others."""

    def __init__(self, normal_NT: Tensor) -> None:
        self.depths, self.outputs, self.identity = (1,), 4, "knowing"
        self.device = torch.device("cpu")
        self._normal_NT = normal_NT
        self.asked = 0

    def tokens(self, window_NT: Tensor) -> Tensor:
        self.asked += len(window_NT)
        far_N = torch.cdist(window_NT, self._normal_NT, compute_mode="donot_use_mm_for_euclid_dist").amin(1) > 1e-3
        return far_N.float()[:, None, None].expand(-1, 1, self.outputs) * 5.0


def _knowing(folder: Path, values_SC: np.ndarray) -> _Knowing:
    trained = train([history("x", values_SC)], None, quick_settings(folder))
    x_RL = prepare(torch.tensor(values_SC.T), trained.rows)
    return _Knowing(pool(x_RL, 64, x_RL.shape[1] - 63).value_RKT[0])


@pytest.mark.slow(2)
@pytest.mark.parametrize("kind", ["autoregressive", "wave"])
def test_a_teacher_that_knows_better_is_heard_and_one_that_knows_nothing_is_not(tmp_path: Path, kind: str) -> None:
    settings = quick_settings(tmp_path, teacher_evidence=True, teacher_budget=0.3)
    values = simulate(kind, 3, 3000)
    teacher = _knowing(tmp_path, values)
    trained = train([history("x", values)], teacher, settings)
    assert trained.header.layout.teacher == "knowing"
    assert trained.rows["deep"].tolist() == [[1.0]]
    assert torch.isfinite(trained.rows["gate"]).all()
    bank = bank_of(trained, settings, teacher)
    assert bank.with_teacher() == 1
    teacher.asked = 0
    [score] = bank.score([Segment("x", simulate(kind, 4, 1500), 600)])
    assert 0 < teacher.asked == score.teacher_K.sum()

    blind = _Knowing(teacher._normal_NT)
    blind._normal_NT = torch.zeros(1, 16)
    trained = train([history("x", values)], blind, settings)
    assert trained.header.layout.teacher == ""
    assert not any(name.startswith(("gate", "deep", "tokens", "ridge")) for name in trained.rows)
    assert trained.header.lineage["teacher"] == "knowing"  # it was tried
    bank = bank_of(trained, settings, blind)
    blind.asked = 0
    [score] = bank.score([Segment("x", simulate(kind, 4, 1500), 600)])
    assert bank.with_teacher() == blind.asked == 0
    [alone] = bank_of(train([history("x", values)], None, settings), settings).score(
        [Segment("x", simulate(kind, 4, 1500), 600)]
    )
    np.testing.assert_array_equal(score.surprise_K, alone.surprise_K)


@pytest.mark.slow(2)
def test_one_stream_s_teacher_is_not_its_neighbour_s(tmp_path: Path) -> None:
    """Streams of one run: those without weight score as without a teacher, and are updated beside those with it."""
    settings = quick_settings(tmp_path, teacher_evidence=True, teacher_budget=0.3)
    values = {"knows": simulate("autoregressive", 3, 4000), "not": simulate("heavy", 5, 4000)}
    teacher = _knowing(tmp_path, values["knows"][:3000])
    trained = train([history(k, v[:3000]) for k, v in values.items()], teacher, settings)
    asks = {m.stream: bool(torch.isfinite(trained.rows["gate"][m.start])) for m in trained.header.members}
    assert asks["knows"]
    bank = bank_of(trained, settings, teacher)
    assert bank.with_teacher() == sum(asks.values())
    assert bank._banks[0].deep._rows_used == bank.with_teacher()  # others pay no memory for the teacher
    alone = train([history("not", values["not"][:3000])], None, settings)
    students = {s.member.stream: s for s in (*students_of(trained)[:1], *students_of(alone))}
    assert students["knows"].layout.teacher
    assert not students["not"].layout.teacher
    students["not"].rows["used.64"].zero_()  # what no new window is near to gives its place away
    fresh = [fresh_history(students[k], history(k, v)) for k, v in values.items()]
    for one in fresh:
        check(students[one.stream], teacher, settings, one)
    teacher.asked = 0
    updated = update(students, fresh, teacher, settings)
    # at most one prototype in eight is replaced, and those of the other stream cost nothing
    assert 0 <= teacher.asked <= 4
    teacher.asked = 0
    only = {"not": students["not"]}
    alone_updated = update(only, fresh[1:], teacher, settings)
    assert teacher.asked == 0
    assert (alone_updated.rows["proto.64"] != students["not"].rows["proto.64"]).any()
    gates = {m.stream: float(updated.rows["gate"][m.start]) for m in updated.header.members}
    assert gates["not"] == float("inf") > gates["knows"]


def test_the_random_teacher_s_budget_zero_is_no_teacher(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, teacher="random", teacher_budget=0.0)
    trained = train([history("wave", simulate("wave", 0, 600))], load_teacher(settings), settings)
    assert trained.header.layout.teacher == ""
