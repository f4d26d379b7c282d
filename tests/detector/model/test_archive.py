"""What a student carries of its stream's past: kept with the artefact, for whoever trains."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from detector.model.archive import STRETCH, Archive
from detector.model.artefact import ArtefactStore, Header, Member, dump
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.seasons import Seasons
from detector.model.store_errors import ArtefactError

LAYOUT = Layout((8,), 2, 2, 4)
WIDTHS = (1, 2, 3)


def _archives() -> list[Archive]:
    rng = np.random.default_rng(0)
    two = Archive(np.array([512, 4096]), (1e6 + rng.normal(size=(2, STRETCH, 1))).astype(np.float32))
    one = Archive(np.array([-1024]), rng.normal(size=(1, STRETCH, 3)).astype(np.float32))
    one.value_BSC[0, 7, 1] = np.nan
    return [two, Archive(), one]


def _file(archives: list[Archive]) -> bytes:
    generator = torch.Generator().manual_seed(0)
    rows = {n: torch.rand(sum(WIDTHS), *s, generator=generator) for n, s in LAYOUT.row_fields().items()}
    rows |= {
        "centre": torch.tensor([1e6, 0, 0, 0, 0, 0]),
        "scale": torch.ones(6),
        "lag": torch.zeros(6),
        "period": torch.zeros(6),
    }
    streams = {n: torch.zeros(3, *s) for n, s in LAYOUT.stream_fields().items()}
    names = [[f"c{i}" for i in range(width)] for width in WIDTHS]
    members = [Member(n, s, c, 1, (0, 9), 10) for n, s, c in zip("abc", (0, 1, 3), names, strict=True)]
    return dump(Header("v", LAYOUT, members), rows, streams, Memories(), Seasons(), archives)


def test_is_read_by_who_asks_for_it(tmp_path: Path) -> None:
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    written = store.write("x.safetensors", _file(_archives()))
    for student, archive in zip(store.read(*written, [0, 1, 2], archives=True), _archives(), strict=True):
        assert student.archive.first_B.tolist() == archive.first_B.tolist()
        assert len(student.archive) == len(archive)
        if len(archive):
            np.testing.assert_allclose(student.archive.value_BSC, archive.value_BSC, rtol=1e-3, atol=2e-3)
    assert not any(len(student.archive) for student in store.read(*written, [0, 1, 2]))
    [earlier] = store.read(*store.write("y.safetensors", _file([])), [2], archives=True)
    assert not len(earlier.archive)


@pytest.mark.parametrize(
    "wrong",
    [
        {"archive.start": torch.tensor([0, 2, 2, 9])},
        {"archive.start": torch.tensor([2, 0, 0, 0])},
        {"archive.first": torch.tensor([512, 600, 0])},
        {"archive.value": torch.zeros(5).half()},
    ],
)
def test_of_somebody_else_is_refused(tmp_path: Path, wrong: dict[str, torch.Tensor]) -> None:
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    good = _file(_archives())
    head = store.header(*store.write("good.safetensors", good))
    written = store.write("x.safetensors", save(load(good) | wrong, metadata={"anomalyllm": head.dumps()}))
    with pytest.raises(ArtefactError, match="cannot be read"):
        store.read(*written, [0, 1, 2], archives=True)
    store.read(*written, [0, 1, 2])
