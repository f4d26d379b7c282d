"""The page about the LLM: figures are paired by series, and the verdict follows from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.teacher.adapter import Trained
from bench.teacher.figures import difference, fewer_false, hits
from bench.teacher.page import write
from bench.teacher.plan import SHARES, TARGETS, TEACHERS, plan
from bench.teacher.windows import windows_of
from bench.teacher.work import APART, Figures, Kinds, peaks
from trainer.backtest.replay import Replayed
from trainer.backtest.runner import row_of
from trainer.backtest.series import Series
from trainer.backtest.settings import BacktestSettings
from trainer.inject.kinds import DRAWN


def _row(name: str, found: float | None, vus: float, inside: list[float], outside: list[float]) -> dict[str, Any]:
    figures = {"found": found, "vus_pr": vus}
    return {
        "name": name, "slots": 100, "teacher": False, "teacher_slots": 5, "fit_s": 1.0, "score_s": 0.1, "inside": inside,
        "outside": outside, "latency_8": figures, "latency_0": figures,
    }  # fmt: skip


def test_differences_are_paired_and_their_interval_is_that_of_the_series() -> None:
    pairs = [(_row(str(i), 0.0, i / 10, [], []), _row(str(i), 1.0, i / 10 + 0.1, [], [])) for i in range(8)]
    found, vus = difference(pairs, "found"), difference(pairs, "vus_pr")
    assert found is not None
    assert vus is not None
    # the series differ much, the gain not at all
    assert (found.middle, found.low, found.high) == (1.0, 1.0, 1.0)
    assert vus.low == pytest.approx(0.1)
    assert vus.high == pytest.approx(0.1)
    assert vus.above
    assert difference([(_row("a", None, 0.1, [], []), _row("a", None, 0.1, [], []))], "found") is None


def test_false_alerts_are_compared_at_equal_recall() -> None:
    without = _row("a", 1.0, 0.5, [5.0, 4.5, 2.0], [6.0, 5.0, 4.6, 4.2, 3.0])
    louder = _row("a", 1.0, 0.5, [9.0, 8.0, 2.0], [8.5, 6.0, 5.0, 4.2])
    saved = fewer_false([(without, louder)] * 4)
    assert saved is not None
    # two ranges are alerted on from 4.5 on without it, at three false alerts, and from 8 on with it, at one
    assert saved.middle == pytest.approx(2 / 3)
    same = fewer_false([(without, without)] * 4)
    assert same is not None
    assert (same.middle, same.low, same.high) == (0.0, 0.0, 0.0)
    assert fewer_false([(_row("a", 1.0, 0.5, [1.0], [6.0] * 20), louder)]) is None
    assert fewer_false([(without, louder)]) is None  # three false alerts say nothing
    assert hits([without, without]) == "4/6, 8"


def test_peaks_inside_are_late_by_what_an_alert_may_be_and_outside_are_apart() -> None:
    score_K = np.zeros(1000, np.float32)
    score_K[[100, 100 + APART - 1]] = 5.0, 3.0
    score_K[[410, 500 + 2 * APART]] = 4.0, 2.5
    label_K = np.zeros(1000, np.uint8)
    label_K[400:405] = 1
    empty = np.zeros(1000, np.int32)
    made = Replayed(score_K, score_K, empty, empty, [], 4.0, 100, "", 0, 0.0, 0.0)
    assert peaks(made, label_K) == ([4.0], [5.0, 2.5])
    assert peaks(made, None) == ([], [5.0, 4.0, 2.5])


class _Item:
    """A wave with a flat piece in its test part."""

    name, slots, domain = "wave", 1500, None

    def load(self) -> Series:
        values_SC = np.sin(np.arange(1500) * 0.3).astype(np.float32)[:, None]
        values_SC += np.random.default_rng(0).normal(0, 0.05, values_SC.shape).astype(np.float32)
        label_S = np.zeros(1500, np.uint8)
        label_S[1200:1260] = 1
        values_SC[1200:1260] = 0.0
        return Series("wave", values_SC, 1000, label_S, found_within=(1100, 1359))


def test_a_series_is_replayed_with_and_without_and_the_page_says_so(tmp_path: Path) -> None:
    items: Any = [_Item()]
    steps = [step for step in plan({"ucr": items}, tmp_path, "c") if step.table in ("share 100%", "kinds")]
    # the tiny random teacher stands for all of them
    done = []
    for step in steps:
        assert isinstance(step.work, Figures)
        name = "none" if step.name == "none" else "random"
        settings = step.work.settings.model_copy(update={"teacher": name, "medoids": 64})
        done.append((step, [row_of(items[0], type(step.work)(settings, "c", step.work.share))]))
    assert not any("error" in rows[0] for _, rows in done)
    by_name = {step.name: rows[0] for step, rows in done if step.table == "share 100%"}
    assert by_name["none"]["teacher_slots"] == 0 < by_name["pretrained, always"]["teacher_slots"]
    assert by_name["pretrained, by evidence"]["teacher"] in (True, False)
    kinds = next(rows[0] for step, rows in done if step.table == "kinds")
    assert len(kinds["kinds"]) == len(DRAWN)
    page = tmp_path / "teacher.md"
    write(page, done, {"adapter": Trained(10, 2.0, 0.5, 2.0, 0.6)}, 60.0)
    text = page.read_text()
    assert "$" not in text
    assert text.splitlines()[2].startswith("**The LLM")
    assert "hidden patches 2.00 → 0.50" in text


def test_every_share_with_a_target_has_every_control(tmp_path: Path) -> None:
    items: Any = [_Item()]
    steps = plan({"ucr": items}, tmp_path, "c")
    for share in SHARES:
        names = {step.name for step in steps if step.table == f"share {share:.0%}"}
        assert names >= {"none", "pretrained, by evidence", "pretrained, always", "shuffled, always"}
        if share in TARGETS:
            assert names == {"none", *(f"{t}, {how}" for t in TEACHERS for how in ("by evidence", "always"))}
    assert {type(step.work) for step in steps if step.table == "kinds"} == {Kinds}


def test_results_have_names_of_their_own(tmp_path: Path) -> None:
    series = _Item().load()
    settings = BacktestSettings(state_dir=tmp_path)
    other = BacktestSettings(state_dir=tmp_path, teacher="random")
    works = (
        Figures(settings, "c"),
        Figures(other, "c"),
        Figures(settings, "d"),
        Figures(settings, "c", 0.5),
        Kinds(settings, "c"),
    )
    assert len({work.key(series) for work in works}) == 5


def test_windows_for_the_adapter_are_those_of_training_parts(tmp_path: Path) -> None:
    items: Any = [_Item(), _Item()]
    windows_NT = windows_of(items)
    assert windows_NT.shape == (600, 16)
    assert torch.isfinite(windows_NT).all()
