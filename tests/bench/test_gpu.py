"""The script for a machine with a GPU runs on a CPU, too: there both sides are the same."""

from dataclasses import replace

import numpy as np
import pytest

from bench import gpu
from detector.model.interface import unscored


def test_parity_counts_slots_that_differ() -> None:
    one = replace(unscored("a", 4, 1), surprise_K=np.array([1.0, 3.9, 5.0, np.nan], np.float32))
    two = replace(unscored("a", 4, 1), surprise_K=np.array([1.5, 4.1, 5.0, np.nan], np.float32))
    found = gpu.ScoreParity.of([one], [two])
    assert (found.slots, found.alerts_agree, found.views_agree) == (4, 0.75, 1.0)
    assert found.max_abs == pytest.approx(0.5)
    lost = gpu.ScoreParity.of([one], [unscored("a", 4, 1)])
    assert lost.max_abs == float("inf")


@pytest.mark.slow(6)
def test_every_figure_of_the_docstring_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    small = gpu.Size(32, 16, 4, 2, 2, 400, 0.03)
    monkeypatch.setattr(gpu.Size, "of", lambda scale: small)
    report = gpu.measured("cpu", 0.01, "random")
    teacher, bank, fit = report["teacher"], report["bank"], report["fit"]
    assert isinstance(teacher, dict)
    assert isinstance(bank, dict)
    assert isinstance(fit, dict)
    assert teacher["parity"] == {"windows": 16, "max_abs": 0.0, "rms": 0.0, "dtype_rms": 0.0}
    assert bank["teacher_share"] > 0.5
    for same in (bank["parity"], fit["parity"]):
        assert (same["max_abs"], same["alerts_agree"], same["views_agree"]) == (0.0, 1.0, 1.0)
    assert fit["parity"]["gates_agree"] == 1.0
    assert min(teacher["windows_per_s"], bank["slots_per_s"], bank["slots_per_s_with_teacher"], fit["fits_per_s"]) > 0
    named = {name for part in (report, teacher, bank, fit, fit["parity"]) for name in part}
    assert gpu.__doc__ is not None
    assert [name for name in named if name not in gpu.__doc__] == []
