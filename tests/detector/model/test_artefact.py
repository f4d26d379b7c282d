"""Artefacts: what is written is what is read, and nothing else is accepted."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load, save

from detector.model import artefact
from detector.model.artefact import FORMAT, ArtefactStore, Header, Member, dump, new_version
from detector.model.banks import StudentBank
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.seasons import Seasons
from detector.model.store_errors import ArtefactError, StoreError
from streamer.contracts import ModelRecord, ModelRef

LAYOUT = Layout((4, 16), 2, 3, 5, "t", (1, 2), (16,), 3)


def _made() -> tuple[Header, dict[str, torch.Tensor], dict[str, torch.Tensor], Memories]:
    generator = torch.Generator().manual_seed(0)
    rows = {n: torch.randn(3, *s, generator=generator) for n, s in LAYOUT.row_fields().items()}
    rows = {name: value.tril() if name.endswith(".white") else value for name, value in rows.items()}
    rows |= {"period": torch.tensor([0.0, 24.0, 1440.0]), "lag": torch.tensor([0.0, 3.0, 8.0])}
    streams = {n: torch.randn(2, *s, generator=generator) for n, s in LAYOUT.stream_fields().items()}
    members = [Member("a", 0, ["x"], 1, (5, 9), 4, {"recall": 1.0}), Member("b", 1, ["x", "y"], 2, (0, 9), 10)]
    return Header(new_version(), LAYOUT, members, {"job": "full"}, "2026-01-01T00:00:00Z"), rows, streams, _memories()


def _memories() -> Memories:
    """Of rows 0 and 2: one of a short history, one of a history that two bytes cannot count."""
    generator = torch.Generator().manual_seed(1)
    rows = {name: torch.randn(2, *shape, generator=generator) for name, shape in LAYOUT.shape_fields().items()}
    rows["shape.ends"] = torch.randint(0, 40_000, rows["shape.ends"].shape, generator=generator)
    rows["shape.ends"][0] %= 70
    rows["shape.own"].abs_()
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
        np.testing.assert_allclose(student.memories.histories[0], memories.histories[row], rtol=5e-4, atol=1e-6)
        for key, value in memories.rows.items():
            tolerance = float(value.max()) / 510 if key == "shape.own" else 0.0
            np.testing.assert_allclose(student.memories.rows[key][0], value[row], rtol=0.0, atol=tolerance)
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


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "a/../../x", "/etc/passwd", "file:///etc/passwd", "", ".x", "a//b"]
)
def test_a_name_that_leads_out_of_the_store_is_never_opened(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "store"
    inside.mkdir()
    (tmp_path / "x.safetensors").write_bytes(b"private")
    store = ArtefactStore(str(inside), tmp_path / "cache")
    sha256 = hashlib.sha256(b"private").hexdigest()
    for use in (
        lambda: store.read(name, sha256, [0]), lambda: store.header(name, sha256), lambda: store.remove(name),
        lambda: store.write(name, b"new"),
    ):  # fmt: skip
        with pytest.raises(ArtefactError, match="below the store"):
            use()
    assert (tmp_path / "x.safetensors").read_bytes() == b"private"
    with pytest.raises(ValueError, match="uri"):
        ModelRef(version="v", uri=name, row=0, sha256=sha256, grid_version=1, trained_slots=(0, 9), points=9)


def test_a_link_out_of_the_store_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "store"
    inside.mkdir()
    (tmp_path / "private").write_bytes(b"private")
    (inside / "x.safetensors").symlink_to(tmp_path / "private")
    store = ArtefactStore(str(inside), tmp_path / "cache")
    with pytest.raises(ArtefactError, match="out of the store"):
        store.read("x.safetensors", hashlib.sha256(b"private").hexdigest(), [0])


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


def _seasoned(head: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """A season for both rows of stream b, all zeros: no interval, no blocks."""
    from detector.model.seasons import FIELDS

    tensors["season.row"] = torch.tensor([1, 2], dtype=torch.int32)
    tensors |= {f"season.{name}": torch.zeros(2, *shape) for name, shape in FIELDS.items()}
    tensors |= {f"season.{name}.from": torch.ones(2, 2) for name in ("mid", "mean")}


HOSTILE: dict[str, Change] = {
    "no layout": lambda head, tensors: head.pop("layout"),
    "layout is a list": lambda head, tensors: head.update(layout=[]),
    "header is a list": lambda head, tensors: head.update(members=None),
    "scales that fall": lambda head, tensors: head["layout"].update(scales=[16, 4]),
    "no scales": lambda head, tensors: head["layout"].update(scales=[]),
    "negative prototypes": lambda head, tensors: head["layout"].update(prototypes=-2),
    "prototypes for a terabyte": lambda head, tensors: head["layout"].update(prototypes=10**9),
    "text for a number": lambda head, tensors: head["layout"].update(shapes="many"),
    "depths without a teacher's": lambda head, tensors: head["layout"].update(depths=[]),
    "member before the first row": lambda head, tensors: head["members"][0].update(start=-1),
    "member beyond the last row": lambda head, tensors: head["members"][1].update(start=10**6),
    "member without channels": lambda head, tensors: head["members"][1].update(channels=[]),
    "member of too many channels": lambda head, tensors: head["members"][1].update(channels=["x"] * 10_000),
    "a span of one": lambda head, tensors: head["members"][1].update(trained_slots=[1]),
    "rows missing": lambda head, tensors: tensors.pop("row.centre"),
    "rows of another shape": lambda head, tensors: tensors.update({"row.proto.4": torch.zeros(3, 1)}),
    "a period that is none": lambda head, tensors: tensors["row.period"].fill_(torch.nan),
    "a period of years": lambda head, tensors: tensors["row.period"].fill_(1e9),
    "memories that point outside": lambda head, tensors: tensors["memory.shape.ends"].fill_(2**30),
    "memories that point before": lambda head, tensors: tensors["memory.shape.ends"].fill_(-1),
    "memories of another shape": lambda head, tensors: tensors.update({"memory.shape.own": torch.zeros(2, 1)}),
    "a width of nothing": lambda head, tensors: tensors["memory.shape.width"].zero_(),
    "histories that overlap": lambda head, tensors: tensors["memory.start"].fill_(-5),
    "rows of memories as fractions": lambda head, tensors: tensors.update({"memory.row": torch.rand(2, 2)}),
    "no memories at all": lambda head, tensors: tensors.pop("memory.row"),
    "triangles of another size": lambda head, tensors: tensors.update({"row.mahalanobis8.white": torch.zeros(3, 35)}),
    "steps of nothing": lambda head, tensors: tensors.pop("memory.shape.own.largest"),
    "a season without blocks": _seasoned,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_foreign_artefact_is_refused_and_the_bank_goes_on(tmp_path: Path, change: Change) -> None:
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    header, rows, streams, memories = _made()
    good = dump(header, rows, streams, memories, Seasons())
    head, tensors = {"format": FORMAT, **asdict(header)}, load(good)
    bank = StudentBank()

    def install(data: bytes) -> dict[str, Exception]:
        name, sha256 = store.write("x.safetensors", data)
        ref = ModelRef(version="v", uri=name, row=1, sha256=sha256, grid_version=2, trained_slots=(0, 9), points=9)
        return {**bank.install([ModelRecord(stream="b", promoted=ref, announced_at="now")], store)}

    assert install(good) == {}
    before = bank.model_of("b")
    change(head, tensors)
    data = save(tensors, metadata={"anomalyllm": orjson.dumps(head).decode()})
    assert isinstance(install(data)["b"], ArtefactError)
    assert bank.model_of("b") == before


def test_the_cache_of_a_remote_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, rows, streams, memories = _made()
    data = dump(header, rows, streams, memories, Seasons())
    monkeypatch.setattr(artefact, "CACHE_BYTES", 2 * len(data) + 1)
    monkeypatch.setattr(artefact, "IN_USE_S", -1.0)
    store = ArtefactStore(f"memory://{uuid.uuid4().hex}", tmp_path / "cache")
    known = []
    for number in range(4):
        known.append(
            store.write(
                f"{number}.safetensors", dump(replace(header, version=str(number)), rows, streams, memories, Seasons())
            )
        )
        store.read(*known[-1], [0])
        store.read(*known[0], [0])  # used all the time
        for age, (_, sha256) in enumerate(reversed(known[1:])):  # as if seconds lay between them
            path = tmp_path / "cache" / f"{sha256}.safetensors"
            if path.exists():
                os.utime(path, (time.time() - 10 - age, time.time() - 10 - age))
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert kept == {f"{known[0][1]}.safetensors", f"{known[3][1]}.safetensors"}
    assert store.read(*known[1], [0])[0].version == "1"  # fetched again


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
