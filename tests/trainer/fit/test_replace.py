"""New prototypes take the place of those that another one stands for, whatever has not come lately."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.model.layout import Layout
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from detector.model.views.prototypes import BAND_POINTS, prototypes
from testkit.simulation import quick_settings
from trainer.fit.agreed import load_teacher
from trainer.fit.prototypes import kmeans
from trainer.fit.replace import replace

SCALE, MANY, DAY = 16, 32, 288
LAYOUT = Layout((SCALE,), MANY, 12, 256)


def _days(levels: list[float], seed: int = 0) -> Tensor:
    """One row: a wave a day, as high as told."""
    wave = torch.sin(2 * torch.pi * torch.arange(DAY) / DAY)
    noise = 0.05 * torch.randn(len(levels) * DAY, generator=torch.Generator().manual_seed(seed))
    return torch.cat([level * wave for level in levels])[None] + noise


def _fitted(x_RL: Tensor) -> Rows:
    windows = pool(x_RL, SCALE, x_RL.shape[1] - SCALE + 1)
    found = kmeans(windows.value_RKT, MANY, BAND_POINTS)
    values = {"proto": found.proto_RPT, "radius": found.radius_RP, "band": found.band_RP, "used": found.used_RP}
    return {f"{name}.{SCALE}": value for name, value in values.items()}


def _updated(rows: Rows, x_RL: Tensor, teacher: Teacher | None = None) -> Rows:
    out = dict(rows)
    count = x_RL.shape[1] - SCALE + 1
    layout = LAYOUT if teacher is None else dataclasses.replace(LAYOUT, teacher_scales=(SCALE,))
    replace(x_RL, out, SCALE, torch.ones(len(x_RL), count, dtype=torch.bool), teacher, layout)
    return out


def _off(rows: Rows, x_RL: Tensor) -> float:
    """How far windows are from the nearest prototype, mean."""
    return float(prototypes(x_RL, rows, SCALE, x_RL.shape[1] - SCALE + 1)[0].nanmean())


@pytest.mark.parametrize("weeks", [1, 4])
def test_weekends_are_not_forgotten_during_the_week(weeks: int) -> None:
    rows = before = _fitted(_days([1.0] * 5 + [3.0] * 2 + [1.0] * 5 + [3.0] * 2))
    weekend = _days([3.0] * 2, seed=1)
    for update in range(3 * weeks):
        rows = _updated(rows, _days([1.0] * 2, seed=2 + update))
    assert _off(rows, weekend) <= _off(before, weekend) + 0.05


def test_what_is_new_is_learnt() -> None:
    before = _fitted(_days([3.0] * 7))
    holiday = _days([9.0] * 2, seed=1)
    rows = before
    for update in range(4):
        rows = _updated(rows, _days([9.0] * 2, seed=2 + update))
    assert _off(rows, holiday) < 0.5 * _off(before, holiday)
    assert _off(rows, _days([3.0])) <= _off(before, _days([3.0])) + 0.2


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=4), st.floats(-8, 8), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_prototypes_come_no_nearer_to_each_other(levels: list[float], level: float, seed: int) -> None:
    def nearest(rows: Rows) -> float:
        apart_PP = torch.cdist(rows[f"proto.{SCALE}"], rows[f"proto.{SCALE}"])[0]
        return float(apart_PP.fill_diagonal_(torch.inf).min())

    before = _fitted(_days(levels, seed))
    after = _updated(before, _days([level], seed + 1))
    assert nearest(after) >= nearest(before) - 1e-3
    assert after[f"proto.{SCALE}"].shape == before[f"proto.{SCALE}"].shape


def test_few_windows_change_nothing() -> None:
    before = _fitted(_days([3.0] * 3))
    after = _updated(before, 9.0 + _days([3.0])[:, :40])
    assert all((after[name] == before[name]).all() for name in before)


def test_the_teacher_is_asked_for_what_is_new(tmp_path: Path) -> None:
    teacher = load_teacher(quick_settings(tmp_path, teacher="random"))
    assert teacher is not None
    rows = _fitted(_days([3.0] * 7))
    rows |= {f"tokens.{SCALE}": teacher.tokens(rows[f"proto.{SCALE}"][0])[None], "gate": torch.zeros(1)}
    after = _updated(rows, _days([9.0] * 2, seed=1), teacher)
    assert (after[f"proto.{SCALE}"] != rows[f"proto.{SCALE}"]).any()
    torch.testing.assert_close(after[f"tokens.{SCALE}"][0], teacher.tokens(after[f"proto.{SCALE}"][0]))
