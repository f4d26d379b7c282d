"""Artefacts: what is written is what is read, and nothing else is accepted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.model.artefact import ArtefactError, ArtefactStore, Header, Member, StoreError, dump, new_version
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.seasons import Seasons

LAYOUT = Layout((4, 16), 2, 3, 5, "t", (1, 2), (16,), 3)


def _made() -> tuple[Header, dict[str, torch.Tensor], dict[str, torch.Tensor], Memories]:
    generator = torch.Generator().manual_seed(0)
    rows = {n: torch.randn(3, *s, generator=generator) for n, s in LAYOUT.row_fields().items()}
    streams = {n: torch.randn(2, *s, generator=generator) for n, s in LAYOUT.stream_fields().items()}
    members = [Member("a", 0, ["x"], 1, (5, 9), 4, {"recall": 1.0}), Member("b", 1, ["x", "y"], 2, (0, 9), 10)]
    return Header(new_version(), LAYOUT, members, {"job": "full"}, "2026-01-01T00:00:00Z"), rows, streams, _memories()


def _memories() -> Memories:
    """Of rows 0 and 2: one of a short history, one of a history that two bytes cannot count."""
    generator = torch.Generator().manual_seed(1)
    rows = {name: torch.randn(2, *shape, generator=generator) for name, shape in LAYOUT.shape_fields().items()}
    rows["shape.ends"] = torch.randint(0, 40_000, rows["shape.ends"].shape, generator=generator)
    rows["shape.width"], rows["shape.kind"] = torch.full((2, 3), 16), torch.full((2, 3), 1)
    return Memories([0, 2], rows, [torch.randn(70, generator=generator), torch.randn(40_000, generator=generator)])


@pytest.mark.parametrize("uri", ["{}", "file://{}", "memory://models"])
def test_round_trip_by_slices(tmp_path: Path, uri: str) -> None:
    store = ArtefactStore(uri.format(tmp_path / "store"), tmp_path / "cache")
    header, rows, streams, memories = _made()
    name, sha256 = store.write(f"{header.version}.safetensors", dump(header, rows, streams, memories, Seasons()))
    [second, first] = store.read(name, sha256, [1, 0])
    assert (second.member, first.member) == (header.members[1], header.members[0])
    assert second.layout == LAYOUT
    assert store.header(name, sha256) == header
    for key, value in rows.items():
        tolerance = 2e-3 if key.startswith(("tokens", "ridge", "proto", "mahalanobis")) else 0.0
        np.testing.assert_allclose(second.rows[key], value[1:3], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(first.stream["stream_cal"], streams["stream_cal"][0])
    for student, row, at in ((first, 0, 0), (second, 1, 1)):
        assert student.memories.at == [at]
        np.testing.assert_array_equal(student.memories.histories[0], memories.histories[row])
        for key, value in memories.rows.items():
            tolerance = 2e-3 if key == "shape.own" else 0.0
            np.testing.assert_allclose(student.memories.rows[key][0], value[row], rtol=tolerance, atol=tolerance)
    store.remove(name)
    store.remove(name)


def test_versions_sort_by_time() -> None:
    versions = [new_version() for _ in range(3)]
    assert sorted(v[:12] for v in versions) == [v[:12] for v in versions]
    assert len(set(versions)) == 3


def test_damage_is_found_before_anything_is_read(tmp_path: Path) -> None:
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    name, sha256 = store.write("x.safetensors", dump(*_made(), Seasons()))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1] + b"!")
    with pytest.raises(ArtefactError, match="sha256"):
        store.read(name, sha256, [0])


def test_absent_file_row_and_foreign_file(tmp_path: Path) -> None:
    import hashlib

    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    with pytest.raises(ArtefactError, match="not in the store"):
        store.read("none.safetensors", "0" * 64, [0])
    name, sha256 = store.write("x.safetensors", dump(*_made(), Seasons()))
    with pytest.raises(ArtefactError, match="2 streams"):
        store.read(name, sha256, [2])
    name, sha256 = store.write("y.safetensors", b"not a model")
    assert sha256 == hashlib.sha256(b"not a model").hexdigest()
    with pytest.raises(ArtefactError, match="cannot be read"):
        store.read(name, sha256, [0])


def test_store_that_cannot_be_written_is_retriable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ArtefactStore(str(tmp_path / "file"), tmp_path / "cache")
    with pytest.raises(StoreError, match="cannot write") as caught:
        store.write("x.safetensors", b"")
    assert caught.value.retriable


@pytest.mark.parametrize("uri", ["{}", "memory://sizes"])
def test_what_is_too_large_is_neither_read_nor_written(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtefactStore(uri.format(tmp_path), tmp_path / "cache")
    name, sha256 = store.write("x.safetensors", dump(*_made(), Seasons()))
    monkeypatch.setattr("detector.model.artefact.MAX_BYTES", 1000)
    for call in (lambda: store.read(name, sha256, [0]), lambda: store.write("y.safetensors", b"x" * 1001)):
        with pytest.raises(ArtefactError, match="at most 1,000"):
            call()
    assert not (tmp_path / "cache").exists()
