"""Requests, jobs, and what a job may learn from."""

import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.model.archive import STRETCH, Archive
from detector.model.artefact import ArtefactStore, Header, Member, Student, dump
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.seasons import Seasons
from streamer.contracts import ModelRecord, ModelRef, TrainingRequest
from streamer.errors import ContractError
from streamer.parsing import parse
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader
from streamer.windows.ring import StreamWindow
from trainer.announce import files_of, now, orphans, record_of, unneeded
from trainer.fit.histories import History
from trainer.fit.run import GateResult
from trainer.jobs import TrainingJob, history_of, merge


def _request(stream: str = "a", **changes: object) -> TrainingRequest:
    return TrainingRequest.model_validate({"stream": stream, "reason": "cold", "requested_at": "now", **changes})


def test_one_job_a_stream_full_covers_prototypes_exclusions_add_up() -> None:
    jobs = merge(
        [
            _request(job="full", exclude=[(5, 9)]),
            _request("b", job="prototypes"),
            _request(job="prototypes", reason="due", exclude=[(1, 2)], span=(0, 50)),
        ]
    )
    assert list(jobs) == ["a", "b"]
    assert jobs["a"] == TrainingJob("a", "full", "due", (0, 50), None, [(1, 2), (5, 9)])
    assert jobs["b"].job == "prototypes"


def test_refused_requests_name_the_field() -> None:
    with pytest.raises(ContractError, match="reason"):
        parse(TrainingRequest, b'{"stream": "a", "requested_at": "now", "reason": "boredom"}', "request")
    with pytest.raises(ContractError) as caught:
        parse(TrainingRequest, b"{", "request")
    assert caught.value.reason == "json"
    assert parse(TrainingRequest, _request().model_dump_json().encode(), "request") == _request()


def _window(slots: int = 500, lo: int = 1000) -> StreamWindow:
    header = StreamHeader(state="grid", grid_version=3, channels=["x"], lo=lo, hi=lo + slots - 1, interval_ns=NS)
    return StreamWindow(header, np.arange(slots, dtype=np.float32)[:, None])


def test_history_leaves_excluded_slots_out_and_keeps_the_grid() -> None:
    history = history_of(
        TrainingJob("a", "full", "cold", exclude=[(900, 1009), (1100, 1100), (9000, 9001)]), _window(), 128
    )
    assert isinstance(history, History)
    assert history.grid_version == 3
    assert history.span == (1000, 1499)
    assert history.points == 489
    assert np.isnan(history.values_SC[:10]).all()
    assert np.isnan(history.values_SC[100])
    assert history.values_SC[101] == 101


def test_span_limits_unless_it_holds_too_little() -> None:
    limited = history_of(TrainingJob("a", "full", "drift", span=(1300, 9999)), _window(), 128)
    assert isinstance(limited, History)
    assert limited.span == (1300, 1499)
    hint = history_of(TrainingJob("a", "full", "drift", span=(1450, 1499)), _window(), 128)
    assert isinstance(hint, History)
    assert hint.span == (1000, 1499)


def test_what_the_student_before_carries_goes_on() -> None:
    """Of its grid, without excluded slots; beside a new level it is not learnt from."""
    archive = Archive(np.array([0, STRETCH]), np.ones((2, STRETCH, 1), np.float32))
    member = Member("a", 0, ["x"], 3, (0, 1100), 1100)
    student = Student("v", member, Layout((8,), 1, 1, 1), {}, {}, Memories(), archive=archive)
    job = TrainingJob("a", "full", "due", exclude=[(4, 5)])
    history = history_of(job, _window(lo=1024), 128, None, student)
    assert isinstance(history, History)
    assert history.older.value_BSC.shape == (2, STRETCH, 1)
    assert np.flatnonzero(np.isnan(history.archive.value_BSC[0, :, 0])).tolist() == [4, 5]
    of_ring = history_of(job, _window(lo=1000), 128, None, student)
    drift = history_of(replace(job, span=(1324, 9999)), _window(lo=1024), 128, None, student)
    other = history_of(job, _window(lo=1024), 128, None, replace(student, member=replace(member, grid_version=2)))
    assert isinstance(of_ring, History) and isinstance(drift, History) and isinstance(other, History)  # noqa: PT018
    assert [(len(h.older), len(h.archive)) for h in (of_ring, drift, other)] == [(1, 2), (0, 2), (0, 0)]


@pytest.mark.parametrize(
    ("job", "slots", "why"),
    [
        (TrainingJob("a", "full", "cold"), 100, "100 slots"),
        (TrainingJob("a", "full", "cold", grid_version=2), 500, "grid 2"),
    ],
)
def test_what_cannot_be_trained_says_why(job: TrainingJob, slots: int, why: str) -> None:
    assert why in str(history_of(job, _window(slots), 128))


def _ref(version: str, grid: int = 1) -> ModelRef:
    return ModelRef(
        version=version,
        uri=f"{version}.safetensors",
        row=0,
        sha256="0" * 64,
        grid_version=grid,
        trained_slots=(0, 9),
        points=9,
    )


def test_promotion_shadow_and_rollback() -> None:
    good, bad = GateResult(True, 0.0, 1.0, "passed"), GateResult(False, 99.0, 1.0, "too loud")
    first = record_of("a", _ref("1"), good, None)
    assert (first.promoted, first.previous, first.shadow) == (_ref("1"), None, None)
    assert first.rolled_back(now()) is None
    second = record_of("a", _ref("2"), good, first)
    assert (second.promoted, second.previous) == (_ref("2"), _ref("1"))
    third = record_of("a", _ref("3"), bad, second)
    refused = _ref("3").model_copy(update={"refused": "too loud"})
    assert (third.promoted, third.shadow, third.previous) == (_ref("2"), refused, _ref("1"))
    back = third.rolled_back(now())
    assert back is not None
    assert (back.promoted, back.previous, back.shadow) == (_ref("1"), _ref("2"), None)
    regridded = record_of("a", _ref("4", grid=2), good, third)
    assert (regridded.promoted, regridded.previous) == (_ref("4", grid=2), None)
    assert record_of("a", _ref("5", grid=3), bad, regridded).promoted is None


def test_only_old_artefacts_that_nobody_refers_to_are_unneeded() -> None:
    old, used, new = "000000000001-aa.safetensors", "000000000002-aa.safetensors", "fffffffffff0-aa.safetensors"
    record = ModelRecord(stream="a", promoted=_ref(used.removesuffix(".safetensors")), announced_at="now")
    assert files_of(record) == {used}
    assert unneeded([old, used, new, "readme.txt"], [record]) == [old]


def test_orphans_of_this_deployment_only(tmp_path: Path) -> None:
    store = ArtefactStore(f"file://{tmp_path}", tmp_path / "cache")
    layout = Layout(scales=(8, 16, 64), prototypes=32, shapes=12, medoids=256)

    def stored(written_s: float, deployment: str | None) -> str:
        name = f"{round(written_s * 1000):012x}-{uuid.uuid4().hex[:8]}.safetensors"
        lineage = {} if deployment is None else {"deployment": deployment}
        store.write(name, dump(Header(name, layout, [], lineage), {}, {}, Memories(), Seasons()))
        return name

    old, new = time.time() - 2 * 86_400, time.time() - 3600
    orphan, used = stored(old, "c1/"), stored(old, "c1/")
    others = {stored(old, "c2/"), stored(old, None)}
    stored(new, "c1/")
    (tmp_path / "000000000001-broken.safetensors").write_bytes(b"no artefact")
    (tmp_path / "readme.txt").write_text("not ours")
    ref = ModelRef(version="v", uri=used, row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 9), points=10)
    record = ModelRecord(stream="a", previous=ref, announced_at="2026-01-01T00:00:00Z")
    looked_at: set[str] = set()
    assert orphans(store, [record], "c1/", looked_at) == [orphan]
    assert looked_at == {*others, "000000000001-broken.safetensors"}
    assert orphans(store, [], "c1/", set()) == []  # no record at all: it is the topic that has been lost
