"""The benchmark's baselines are causal and see what they should; its page is written from any part of the steps."""

from pathlib import Path

import numpy as np
import pytest

from bench.arguments import data_sets
from bench.quality.baselines import BASELINES, Baseline, fused, matrix_profile, memory
from bench.quality.page import Rows, write
from bench.quality.plan import plan
from bench.steps import carry_out
from testkit.waves import BURST, TRAIN, waves, write_folder
from trainer.backtest.task import Task

# The matrix profile is compiled at its first use: a minute on an idle core, several on a busy one.
pytestmark = pytest.mark.slow(1)


by_name = pytest.mark.parametrize(
    "baseline",
    [pytest.param(b, marks=[pytest.mark.bench] if b.score is matrix_profile else []) for b in BASELINES],
    ids=lambda b: b.name,
)


@by_name
def test_a_baseline_sees_a_burst_and_does_not_look_ahead(baseline: Baseline) -> None:
    series = waves(channels=2)
    training_NC, test_KC = series.values_SC[:TRAIN], series.values_SC[TRAIN:]
    score_K, lag = fused(baseline, training_NC, test_KC, 0)
    assert score_K.shape == (len(test_KC),)
    assert np.isfinite(score_K).all()
    begin = BURST.start - TRAIN
    assert begin <= int(score_K.argmax()) < begin + 20 + 2 * lag + 1
    changed_KC = test_KC.copy()
    changed_KC[150:] = 40.0
    np.testing.assert_allclose(fused(baseline, training_NC, changed_KC, 0)[0][:150], score_K[:150], atol=1e-5)


@by_name
def test_a_baseline_endures_constants_and_gaps(baseline: Baseline) -> None:
    values_SC = waves(channels=3).values_SC.copy()
    values_SC[:, 1] = 5.0
    values_SC[::7, 2] = np.nan
    values_SC[:3] = np.nan
    score_K, _ = fused(baseline, values_SC[:TRAIN], values_SC[TRAIN:], 0)
    assert np.isfinite(score_K).all()


@pytest.mark.bench
def test_the_join_is_the_nearest_training_window() -> None:
    rng = np.random.default_rng(0)
    training, test, window = rng.normal(size=(90, 1)), rng.normal(size=(30, 1)), 8
    found, lag = matrix_profile(training, test, window, 0)
    joined = np.concatenate([training[-7:, 0], test[:, 0]])

    def shapes(x: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x, window)
        return np.asarray((windows - windows.mean(1, keepdims=True)) / windows.std(1, keepdims=True))

    wanted = np.linalg.norm(shapes(joined)[:, None] - shapes(training[:, 0])[None], axis=2).min(1)
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-6)
    assert lag == 4


def test_the_memory_knows_what_it_has_seen() -> None:
    training = waves(channels=1).values_SC[:TRAIN].astype(np.float64)
    score_KC, _ = memory(training, training[100:300], 40, 0)
    assert score_KC[40:].max() < 0.05


@pytest.mark.bench
@pytest.mark.slow(10)
def test_the_page_has_all_tables(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_folder(root / "ucr", [waves(0)])
    write_folder(root / "kpi", [waves(1), waves(2, burst=False)])
    sets = data_sets(root)
    assert list(sets) == ["ucr", "kpi"]
    steps = [
        step
        for step in plan(sets, tmp_path / "state", ("main", "baseline", "paper", "cold"))
        if step.name in ("train", "moving_variance", "product", "paper, tiny random teacher", "50%")
    ]
    page = tmp_path / "docs" / "benchmarks.md"
    write(page, Rows(carry_out(steps, 1)), 60.0)
    text = page.read_text()
    assert "$" not in text
    assert "| ucr, found | 1 | **1.000** |" in text
    assert "| kpi, VUS-PR | 2 |" in text
    assert "| 50% |" in text
    assert "| product | 1.000 |" in text
    assert "| paper, tiny random teacher |" in text
    assert "Not run." in text  # the ablation


def test_the_paper_is_run_on_the_same_series_as_the_product(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_folder(root / "ucr", [waves(n) for n in range(10)])
    write_folder(root / "gecco", [waves(0)])
    steps = plan(data_sets(root), tmp_path / "state", ("paper",))
    assert [(step.name, step.data_set) for step in steps] == [
        ("product", "ucr"), ("paper", "ucr"), ("paper, tiny random teacher", "ucr"),
    ]  # fmt: skip
    assert all([item.name for item in step.items] == ["wave-0", "wave-8"] for step in steps)
    works = [step.work for step in steps]
    assert [(w.settings.profile, w.settings.teacher) for w in works if isinstance(w, Task)] == [
        ("product", "none"), ("paper", "smollm2"), ("paper", "random"),
    ]  # fmt: skip
