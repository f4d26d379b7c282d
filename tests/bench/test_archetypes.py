"""Streams of other kinds: what is to be heard of lies within them, and the same seed makes the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.quality import archetypes, more_archetypes, third_archetypes

TOOL = Path(__file__).parents[3] / "shared" / "opsbench" / "opsbench.py"


@pytest.mark.skipif(not TOOL.exists(), reason="the operations tool is not here")
@pytest.mark.parametrize(
    ("kinds", "events"),
    [(archetypes.ARCHETYPES, 23), (more_archetypes.ARCHETYPES, 24), (third_archetypes.ARCHETYPES, 22)],
)
def test_every_kind_is_made_with_its_events(tmp_path: Path, kinds: list[Callable[[Any], None]], events: int) -> None:
    for folder in ("one", "same"):
        archetypes.make(TOOL, tmp_path / folder, seed=5, each=1, interval_s=900, kinds=kinds)
    index = json.loads((tmp_path / "one" / "index.json").read_text())
    assert [series["name"] for series in index["series"]] == [f"{kind.__name__}-0" for kind in kinds]
    for series in index["series"]:
        values, same = (np.load(tmp_path / folder / series["file"])["values"] for folder in ("one", "same"))
        np.testing.assert_array_equal(values, same)
        assert np.isfinite(values).all()
        assert len(np.unique(values)) > 5
        wanted = [event for event in series["events"] if event["want"] == "page"]
        assert all(series["train_end"] < e["start"] < e["end"] <= series["length"] for e in wanted)
    assert sum(e["want"] == "page" for series in index["series"] for e in series["events"]) == events
